"""Environments that cannot be: no image, settings the engine refuses, one that stops at once."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Installation
from tests.e2e.outcomes import assert_fails_in_one_line, assert_stays_up, container_of, says_ok


def test_a_missing_image_is_told_to_user_and_operator(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_ENVIRONMENT__IMAGE="chaospine:absent") as server:
        alice = client_of(own_installation, server, "alice")
        assert_fails_in_one_line(alice, os.EX_CONFIG, "image")
        assert_stays_up(server, "image_missing", "chaospine:absent")
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("ROOTBLOOD_ENVIRONMENT__NOFILE", str(2**40)), ("ROOTBLOOD_LIMITS__CPUS", "4096")],
    ids=["cannot start", "cannot be made"],
)
def test_a_container_that_does_not_come_up_is_told_and_heals_with_its_settings(
    own_installation: Installation, setting: str, value: str
) -> None:
    with own_installation.serving(**{setting: value}) as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "administrator")
        assert_stays_up(server, "engine_refused")
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))
    assert [container_of(own_installation)] == own_installation.environments()


def test_an_environment_that_stops_at_once_names_the_rescue_console(
    own_installation: Installation, tmp_path: Path
) -> None:
    profile = tmp_path / "no_children.json"
    forbidden = {"names": ["fork", "vfork", "clone", "clone3"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    with own_installation.serving(ROOTBLOOD_ENVIRONMENT__SECCOMP_PROFILE=str(profile)) as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "; to see why: ssh alice+rescue@<this host>")
        assert_stays_up(server)
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))
