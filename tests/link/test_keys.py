"""The keys of the link: two, kept apart, and only what the far end needs leaves the front door."""

from pathlib import Path

import asyncssh
import pytest

from rootblood.errors import ConfigurationError
from rootblood.link.keys import create_link_keys, read_link_keys


def test_keys_are_made_once(tmp_path: Path) -> None:
    assert create_link_keys(tmp_path) is True
    keys = read_link_keys(tmp_path)
    assert create_link_keys(tmp_path) is False
    assert dict(keys.files) == dict(read_link_keys(tmp_path).files)


def test_a_lost_key_is_made_anew_and_the_other_kept(tmp_path: Path) -> None:
    create_link_keys(tmp_path)
    before = read_link_keys(tmp_path)
    (tmp_path / "link_client_ed25519_key").unlink()
    assert create_link_keys(tmp_path) is True
    after = read_link_keys(tmp_path)
    assert before.files["ssh_host_ed25519_key"] == after.files["ssh_host_ed25519_key"]
    assert before.files["authorized_keys"] != after.files["authorized_keys"]


def test_environments_get_their_host_key_and_the_public_half_of_the_client_s(tmp_path: Path) -> None:
    create_link_keys(tmp_path)
    keys = read_link_keys(tmp_path)
    assert {"ssh_host_ed25519_key", "authorized_keys"} == set(keys.files)
    host = asyncssh.import_private_key(keys.files["ssh_host_ed25519_key"])
    client = asyncssh.import_public_key(keys.files["authorized_keys"])
    assert (keys.host.public_data, keys.client.public_data) == (host.public_data, client.public_data)
    assert "PRIVATE" not in keys.files["authorized_keys"]
    assert host.public_data != client.public_data


def test_without_setup_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rootblood setup"):
        read_link_keys(tmp_path)
