"""What an environment is to Docker: pure functions from settings and an identity to API arguments.

Every hardening flag and limit of an environment is decided here, and only here. A hash of the result is kept
as a label, so that a stopped container made under other settings is made anew before it is used again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.types import LogConfig, Mount, Ulimit

from rootblood.domain.environments import (
    Identity,
    container_name,
    home_volume_name,
    network_name,
    shared_volume_name,
    system_volume_name,
)
from rootblood.engines.docker.direct import SOCKET_DIRECTORY
from rootblood.settings import EnvironmentSettings, LimitsSettings

INSTANCE_LABEL = "rootblood.instance"
USERHASH_LABEL = "rootblood.userhash"
IMAGE_LABEL = "rootblood.image"
"""Name of the image, as the settings had it: a container itself is made of an id."""

TRIAL_LABEL = "rootblood.trial"
SPEC_LABEL = "rootblood.spec"

SYSTEM_DIRECTORY = "/etc/rootblood"
SHARED_DIRECTORY = "/global"
INSTALL_PROGRAM = "/usr/lib/rootblood/install-system"

_MIB = 1024 * 1024

Arguments = dict[str, Any]


def security_options(settings: EnvironmentSettings) -> list[str]:
    """Docker's `--security-opt` values."""
    options = ["no-new-privileges:true"] if settings.no_new_privileges else []
    if settings.seccomp_profile is not None:
        options.append(f"seccomp={settings.seccomp_profile.read_text()}")
    return options


def environment_arguments(
    api: docker.APIClient,
    identity: Identity,
    *,
    image_id: str,
    instance: str,
    settings: EnvironmentSettings,
    limits: LimitsSettings,
    sockets: Path | None = None,
) -> Arguments:
    """Arguments of `APIClient.create_container` for an account's environment.

    Args:
        api: knows the API version to write for.
        identity: of the account.
        image_id: of the image that was accepted last: another one makes another specification.
        instance: label of the installation.
        settings: of every environment.
        limits: of every environment.
        sockets: the account's directory for direct streams, if there are to be any.
    """
    mounts = [
        Mount(target="/home", source=home_volume_name(identity.userhash), type="volume"),
        Mount(target=SHARED_DIRECTORY, source=shared_volume_name(instance), type="volume"),
        _system_mount(instance),
    ]
    if sockets is not None:
        mounts.append(Mount(target=SOCKET_DIRECTORY, source=str(sockets), type="bind", read_only=True))
    arguments = _hardened(
        api, identity, image_id=image_id, instance=instance, settings=settings, limits=limits, mounts=mounts
    )
    arguments["name"] = container_name(identity.userhash)
    arguments["labels"] = {
        INSTANCE_LABEL: instance,
        USERHASH_LABEL: identity.userhash,
        SPEC_LABEL: _spec_hash(arguments),
        IMAGE_LABEL: settings.image,
    }
    return arguments


def trial_arguments(
    api: docker.APIClient,
    identity: Identity,
    *,
    image_id: str,
    instance: str,
    settings: EnvironmentSettings,
    limits: LimitsSettings,
) -> Arguments:
    """As `environment_arguments`, for an environment that nobody misses: its home is in memory.

    Nothing tells whose it would be, so that it passes for nobody's environment.
    """
    arguments = _hardened(
        api,
        identity,
        image_id=image_id,
        instance=instance,
        settings=settings,
        limits=limits,
        mounts=[_system_mount(instance)],
        tmpfs={"/home": f"rw,exec,nosuid,nodev,size={limits.tmp_mib}m,mode=1777"},
    )
    arguments["labels"] = {INSTANCE_LABEL: instance, TRIAL_LABEL: "yes"}
    return arguments


def _system_mount(instance: str) -> Mount:
    return Mount(target=SYSTEM_DIRECTORY, source=system_volume_name(instance), type="volume", read_only=True)


def _hardened(
    api: docker.APIClient,
    identity: Identity,
    *,
    image_id: str,
    instance: str,
    settings: EnvironmentSettings,
    limits: LimitsSettings,
    mounts: Sequence[Mount],
    tmpfs: Mapping[str, str] | None = None,
) -> Arguments:
    """What every container of accounts' programs is, but for its name and labels."""
    host_config = api.create_host_config(
        mounts=[*mounts],
        network_mode=network_name(instance),
        read_only=settings.read_only_root,
        cap_drop=list(settings.cap_drop),
        security_opt=security_options(settings),
        init=settings.init,
        mem_limit=limits.memory_mib * _MIB,
        memswap_limit=limits.memory_mib * _MIB,
        nano_cpus=int(limits.cpus * 1e9),
        pids_limit=limits.pids,
        ulimits=[Ulimit(name="nofile", soft=settings.nofile, hard=settings.nofile)]
        if settings.nofile is not None
        else None,
        tmpfs={
            "/tmp": f"rw,exec,nosuid,nodev,size={limits.tmp_mib}m,mode=1777",  # noqa: S108
            # Owned by the account: runc gives a tmpfs the mode of the image's directory, here 755.
            "/run": f"rw,noexec,nosuid,nodev,size={limits.run_mib}m,uid={identity.uid},gid={identity.gid}",
            **(tmpfs or {}),
        },
        # The account can write to the first process's stdout: a log driver would let it fill the host's disk.
        log_config=LogConfig(type="none"),
    )
    return {
        "image": image_id,
        "hostname": settings.hostname,
        "user": f"{identity.uid}:{identity.gid}",
        "working_dir": "/",
        "environment": {"HOME": identity.home, "USER": identity.name, "LOGNAME": identity.name},
        "host_config": host_config,
    }


def install_arguments(api: docker.APIClient, *, instance: str, image: str) -> Arguments:
    """Arguments of `APIClient.create_container` for the one-off helper behind `Engine.install`.

    It is root, with three capabilities, no network and nobody else's program in it; it never mounts a home.
    """
    return {
        "image": image,
        "command": [INSTALL_PROGRAM],
        "user": "0:0",
        "stdin_open": True,
        "network_disabled": True,
        "labels": {INSTANCE_LABEL: instance},
        "host_config": api.create_host_config(
            mounts=[
                Mount(target=SHARED_DIRECTORY, source=shared_volume_name(instance), type="volume"),
                Mount(target=SYSTEM_DIRECTORY, source=system_volume_name(instance), type="volume"),
            ],
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER"],
            security_opt=["no-new-privileges:true"],
        ),
    }


def _spec_hash(arguments: Arguments) -> str:
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
