"""What a client reads when something fails."""

import os

import pytest

from rootblood import errors
from rootblood.ssh.failures import exit_status, explanation, message_line


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.EngineUnavailableError, os.EX_UNAVAILABLE),
        (errors.StoreUnavailableError, os.EX_UNAVAILABLE),
        (errors.EnvironmentFailedError, os.EX_UNAVAILABLE),
        (errors.EnvironmentBrokenError, os.EX_UNAVAILABLE),
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


def test_an_environment_that_fails_names_the_rescue_console() -> None:
    error = errors.EnvironmentBrokenError("your environment stops right after its start")

    assert "your environment stops right after its start; to see why: ssh alice+rescue@<this host>" == (
        explanation(error, "alice")
    )


def test_a_database_that_is_away_is_no_fault_of_the_environment() -> None:
    error = errors.StoreUnavailableError("the database does not answer")

    assert "the database does not answer; try again in a moment, or ask your administrator" == (
        explanation(error, "alice")
    )


def test_other_errors_say_themselves_what_to_do() -> None:
    error = errors.EnvironmentFailedError("the container engine refused: ask your administrator")

    assert str(error) == explanation(error, "alice")


def test_a_line_ends_as_its_reader_needs_it() -> None:
    assert message_line("away", terminal=False) == b"rootblood: away\n"
    assert message_line("away", terminal=True) == b"rootblood: away\r\n"
