"""Every hardening flag and limit of the settings is in what Docker is asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from rootblood.domain.environments import Identity
from rootblood.engines.docker.container import (
    SPEC_LABEL,
    environment_arguments,
    install_arguments,
    trial_arguments,
)
from rootblood.settings import EnvironmentSettings, LimitsSettings

USERHASH = "0123456789abcdef" * 2
ALICE = Identity(name="alice", userhash=USERHASH, uid=20001, gid=20001)
MIB = 1024 * 1024

CHANGED_ENVIRONMENT: dict[str, Any] = {
    "hostname": "elsewhere",
    "read_only_root": False,
    "cap_drop": ("NET_RAW",),
    "no_new_privileges": False,
    "seccomp_profile": "profile.json",
    "init": False,
    "nofile": 4096,
}
CHANGED_LIMITS: dict[str, Any] = {"memory_mib": 128, "cpus": 0.5, "pids": 99, "tmp_mib": 7, "run_mib": 3}


@pytest.fixture
def api() -> Iterator[docker.APIClient]:
    """One that is told its version, so that it asks no engine."""
    made = docker.APIClient(version="1.41")
    yield made
    made.close()


def arguments(
    api: docker.APIClient,
    identity: Identity = ALICE,
    environment: EnvironmentSettings | None = None,
    limits: LimitsSettings | None = None,
) -> dict[str, Any]:
    return environment_arguments(
        api,
        identity,
        image_id="sha256:0",
        instance="here",
        settings=environment or EnvironmentSettings(),
        limits=limits or LimitsSettings(),
    )


def test_the_defaults_are_hardened(api: docker.APIClient) -> None:
    made = arguments(api)
    host = made["host_config"]
    expected = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Init": True,
        "NetworkMode": "rb_here",
        "Memory": 1024 * MIB,
        "MemorySwap": 1024 * MIB,
        "NanoCpus": 10**9,
        "PidsLimit": 512,
    }
    assert expected == {key: host.get(key) for key in expected}
    assert ("sha256:0", "20001:20001") == (made["image"], made["user"])
    assert {"Type": "none", "Config": {}} == dict(host["LogConfig"])
    assert {"/tmp": "size=256m", "/run": "size=16m"} == {
        path: next(option for option in options.split(",") if option.startswith("size="))
        for path, options in host["Tmpfs"].items()
    }
    assert all({"nosuid", "nodev"} <= set(options.split(",")) for options in host["Tmpfs"].values())


def test_nothing_of_the_host_is_given_away(api: docker.APIClient) -> None:
    host = arguments(api)["host_config"]
    for key in (
        "Privileged",
        "CapAdd",
        "Devices",
        "Binds",
        "PortBindings",
        "PublishAllPorts",
        "PidMode",
        "IpcMode",
    ):
        assert not host.get(key), key
    assert [
        ("volume", f"home_{USERHASH}", "/home", False),
        ("volume", "rb_here_global", "/global", False),
        ("volume", "rb_here_system", "/etc/rootblood", True),
    ] == [
        (mount["Type"], mount["Source"], mount["Target"], mount["ReadOnly"] or False)
        for mount in host["Mounts"]
    ]


def test_a_trial_is_as_hardened_and_has_no_home(api: docker.APIClient) -> None:
    made = trial_arguments(
        api,
        ALICE,
        image_id="sha256:0",
        instance="here",
        settings=EnvironmentSettings(),
        limits=LimitsSettings(),
    )
    host, others = made["host_config"], arguments(api)["host_config"]
    assert {"Mounts", "Tmpfs"} == {key for key in others if host[key] != others[key]}
    assert ["/etc/rootblood"] == [mount["Target"] for mount in host["Mounts"]]
    assert {"/home": "rw,exec,nosuid,nodev,size=256m,mode=1777"} == dict(
        set(host["Tmpfs"].items()) - set(others["Tmpfs"].items())
    )
    assert {"rootblood.instance": "here", "rootblood.trial": "yes"} == made["labels"]
    assert "name" not in made


def test_no_resource_is_named_by_what_somebody_typed(api: docker.APIClient) -> None:
    made = arguments(api)
    assert f"rb_{USERHASH}" == made["name"]
    assert made["labels"].items() >= {"rootblood.instance": "here", "rootblood.userhash": USERHASH}.items()


def test_this_list_knows_every_setting() -> None:
    # icc is the network's, and which image it is the engine's to find out: see the conformance suite.
    assert {*CHANGED_ENVIRONMENT, "icc", "image"} == set(EnvironmentSettings.model_fields)
    assert set(CHANGED_LIMITS) == set(LimitsSettings.model_fields)


@pytest.mark.parametrize("field", CHANGED_ENVIRONMENT)
def test_each_setting_of_the_environment_has_an_effect(
    api: docker.APIClient, tmp_path: Path, field: str
) -> None:
    value = CHANGED_ENVIRONMENT[field]
    if field == "seccomp_profile":
        value = tmp_path / value
        value.write_text("{}")
    before, after = arguments(api), arguments(api, environment=EnvironmentSettings(**{field: value}))
    assert before["labels"][SPEC_LABEL] != after["labels"][SPEC_LABEL]
    assert without_labels(before) != without_labels(after)


@pytest.mark.parametrize("field", CHANGED_LIMITS)
def test_each_limit_has_an_effect(api: docker.APIClient, field: str) -> None:
    before = arguments(api)
    after = arguments(api, limits=LimitsSettings(**{field: CHANGED_LIMITS[field]}))
    assert before["labels"][SPEC_LABEL] != after["labels"][SPEC_LABEL]
    assert without_labels(before) != without_labels(after)


def test_a_seccomp_profile_is_passed_by_content(api: docker.APIClient, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    made = arguments(api, environment=EnvironmentSettings(seccomp_profile=profile))
    assert ["no-new-privileges:true", 'seccomp={"defaultAction": "SCMP_ACT_ERRNO"}'] == (
        made["host_config"]["SecurityOpt"]
    )


def test_the_same_settings_give_the_same_spec(api: docker.APIClient) -> None:
    assert arguments(api)["labels"] == arguments(api)["labels"]


def test_the_helper_has_three_capabilities_no_network_and_no_home(api: docker.APIClient) -> None:
    host = install_arguments(api, instance="here", image="chaospine:1.0.0")["host_config"]
    assert ("none", True, ["ALL"], ["CHOWN", "DAC_OVERRIDE", "FOWNER"], ["no-new-privileges:true"]) == (
        host["NetworkMode"],
        host["ReadonlyRootfs"],
        host["CapDrop"],
        host["CapAdd"],
        host["SecurityOpt"],
    )
    assert ["/global", "/etc/rootblood"] == [mount["Target"] for mount in host["Mounts"]]


def test_another_image_is_another_spec(api: docker.APIClient) -> None:
    one, other = (
        environment_arguments(
            api,
            ALICE,
            image_id=image,
            instance="here",
            settings=EnvironmentSettings(),
            limits=LimitsSettings(),
        )
        for image in ("sha256:0", "sha256:1")
    )
    assert one["labels"][SPEC_LABEL] != other["labels"][SPEC_LABEL]


def without_labels(made: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key != "labels"}
