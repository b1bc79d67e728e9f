"""What a client reads when something fails."""

import os

import pytest

from rootblood import errors
from rootblood.ssh.failures import exit_status, message_line


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.EngineUnavailableError, os.EX_UNAVAILABLE),
        (errors.StoreUnavailableError, os.EX_UNAVAILABLE),
        (errors.EnvironmentFailedError, os.EX_UNAVAILABLE),
        (errors.LimitReachedError, os.EX_TEMPFAIL),
        (errors.ImageMissingError, os.EX_CONFIG),
        (errors.ConfigurationError, os.EX_CONFIG),
        (errors.NotFoundError, os.EX_NOPERM),
    ],
)
def test_each_error_has_its_status(kind: type[errors.RootBloodError], status: int) -> None:
    assert exit_status(kind("why")) == status


def test_no_error_looks_like_success() -> None:
    leaves = errors.RootBloodError.__subclasses__()

    assert leaves != []
    assert [leaf for leaf in leaves if exit_status(leaf("why")) == 0] == []


def test_a_line_ends_as_its_reader_needs_it() -> None:
    assert message_line("away", terminal=False) == b"rootblood: away\n"
    assert message_line("away", terminal=True) == b"rootblood: away\r\n"
