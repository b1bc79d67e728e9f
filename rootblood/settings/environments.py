"""Environments: the engine that runs them, what each is made of and may use, and the link into it.

How long they run is in `lifetimes`.
"""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rootblood.settings.group import Group, Seconds


class EngineSettings(Group):
    """What runs the containers."""

    kind: Literal["docker"] = "docker"

    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = "default"
    """Label on every resource, so that two installations on one engine never touch each other's."""

    url: str | None = None
    """Address of the Docker API; None means DOCKER_HOST, or else the local socket."""

    direct_streams: bool = True
    """Streams into environments as UNIX sockets under `state_dir`, where Docker runs on this machine.
    Elsewhere, and with false, they go through Docker, which is slower."""

    subnet: IPv4Network | None = None
    """Addresses of the bridge that environments are on, three of them besides one for each that runs; None
    leaves the choice to the engine, which has addresses for about thirty bridges. Counts when the bridge is
    made: to change it, stop all environments and remove the network `rb_<instance>`."""

    timeout_s: Seconds = 30.0
    """How long one call of the engine's API may take."""

    max_concurrent_calls: Annotated[int, Field(ge=1)] = 16
    """Size of the thread pool that the blocking SDK runs in."""


class EnvironmentSettings(Group):
    """What every environment is made of, hardening included."""

    image: str = "chaospine:1.0.0"
    """Name of the image. What is built under it later counts once `rootblood image upgrade` has taken it;
    another name counts at the next start of each environment."""

    hostname: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "rootblood"

    read_only_root: bool = True
    """Only the home, /global, /tmp and /run can be written."""

    cap_drop: tuple[str, ...] = ("ALL",)
    no_new_privileges: bool = True
    """setuid programs gain nothing."""

    seccomp_profile: Path | None = None
    """JSON file of a profile of your own; None means the engine's default. There is no way to have none."""

    init: bool = True
    """A small PID 1 that reaps zombies."""

    icc: bool = False
    """Whether environments may reach one another's ports over the bridge."""

    nofile: Annotated[int, Field(ge=256)] | None = None
    """Open files a process; None leaves the engine's own default, which it may not be able to raise."""


class LimitsSettings(Group):
    """What one environment may use at most."""

    memory_mib: Annotated[int, Field(ge=64)] = 1024
    """Memory, swap included, in MiB."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPU time a second, in cores."""

    pids: Annotated[int, Field(ge=32)] = 512
    """Processes and threads."""

    tmp_mib: Annotated[int, Field(ge=1)] = 256
    """Size of /tmp, which counts as memory, in MiB."""

    run_mib: Annotated[int, Field(ge=1)] = 16
    """Size of /run, which counts as memory, in MiB."""


class LinkSettings(Group):
    """The inner SSH connection into an environment."""

    open_timeout_s: Seconds = 20.0
    """From the container exec to an authenticated inner connection."""

    session_timeout_s: Seconds = 5.0
    """From the request for a session to the environment's answer, which takes milliseconds. A link without an
    answer (a paused container, a stopped sshd) takes no new session from then on."""

    idle_grace_s: Annotated[float, Field(ge=0)] = 30.0
    """How long an unused link stays open for the next connection of the same account."""

    max_calls: Annotated[int, Field(ge=1)] = 8
    """Connections that programs of one environment, such as `rb`, have to the front door at one time."""

    call_timeout_s: Seconds = 30.0
    """Such a connection is cut off after this; each carries one request."""
