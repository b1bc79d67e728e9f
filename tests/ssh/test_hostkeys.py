"""The host key is made once and never by itself."""

from pathlib import Path

import pytest

from rootblood.errors import ConfigurationError
from rootblood.ssh.hostkeys import create_host_key, host_key_fingerprint, read_host_key


def test_made_once_and_private(tmp_path: Path) -> None:
    assert create_host_key(tmp_path)
    fingerprint = host_key_fingerprint(tmp_path)

    assert not create_host_key(tmp_path)
    assert fingerprint == host_key_fingerprint(tmp_path)
    assert (tmp_path / "ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert read_host_key(tmp_path).get_algorithm() == "ssh-ed25519"


def test_a_missing_one_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run: rootblood setup"):
        read_host_key(tmp_path)


def test_one_that_others_may_read_is_refused(tmp_path: Path) -> None:
    create_host_key(tmp_path)
    (tmp_path / "ssh_host_ed25519_key").chmod(0o640)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_host_key(tmp_path)
