"""What an environment is, and what its parts are called.

An environment is an account's container, its home volume, and the shared volume at /global. The names below
are built from the userhash or from the installation's instance label, never from what a user typed.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rootblood.domain.accounts import Account


class EnvironmentState(StrEnum):
    """What the engine says of an environment's container."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    BROKEN = "broken"
    """In a state nothing can be done with but to remove it."""

    @property
    def is_alive(self) -> bool:
        """Whether what was started in it is still there, and runs or could go on."""
        return self in {EnvironmentState.RUNNING, EnvironmentState.PAUSED}


class EnsureStep(StrEnum):
    """What `Engine.ensure` is about to do; told only where it takes time."""

    CREATE = "creating"
    START = "starting"
    RESUME = "resuming"


class StopReason(StrEnum):
    """Why RootBlood itself stopped an environment, or removed its container."""

    ADMINISTRATOR = "administrator"
    OWNER = "owner"
    """The account itself asked for it."""

    IDLE = "idle"
    """Nobody used it."""


class RestartReason(StrEnum):
    """Why an environment that had run before had to be started, or made, again."""

    OUT_OF_MEMORY = "out-of-memory"
    ADMINISTRATOR = "administrator"
    """RootBlood was asked to stop it: see `StopReason`."""

    OWNER = "owner"
    """As `ADMINISTRATOR`."""

    IDLE = "idle"
    """As `ADMINISTRATOR`."""

    HOST = "host"
    """The machine or the engine restarted."""

    KILLED = "killed"
    """Past RootBlood, or by something that ran in it."""

    STOPPED = "stopped"
    """Told to stop, past RootBlood, and ended in order."""

    ENDED = "ended"
    """Its first process ended by itself."""

    CHANGED = "changed"
    """Made anew: the image or the settings are others than its container was made with."""

    REMOVED = "removed"
    """Made anew: its container was gone, or in a state nothing could be done with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an environment must know of an account: who the processes in it are."""

    name: str
    userhash: str
    uid: int
    gid: int

    @classmethod
    def of(cls, account: Account) -> "Identity":
        """The identity of `account`."""
        return cls(name=account.name, userhash=account.userhash, uid=account.uid, gid=account.gid)

    @property
    def home(self) -> str:
        """Path of the home inside the environment."""
        return f"/home/{self.userhash}"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment as the engine sees it now."""

    userhash: str
    state: EnvironmentState
    engine_id: str
    """The engine's own name of the container; changes when the environment is made anew."""

    image: str
    created_at: datetime
    image_id: str = ""
    """Of the image it was made of, whatever that name stands for by now."""

    restarted: RestartReason | None = field(default=None, compare=False)
    """Told by the very `Engine.ensure` that started it, and only where it had run before."""


@dataclass(frozen=True, slots=True)
class EnvironmentDetails:
    """What the engine knows of one environment, and what it may use."""

    environment: Environment
    started_at: datetime | None
    """None where it never ran."""

    stopped_at: datetime | None
    """When it last stopped; None where it never did."""

    exit_status: int
    """Of the last run, where it does not run now: 137 after KILL."""

    out_of_memory: bool
    """Whether the kernel killed a process of its last, or present, run for want of memory."""

    memory_limit_bytes: int
    cpu_limit: float
    """In cores."""

    pids_limit: int
    ended: RestartReason | None = None
    """Why it does not run, as far as the engine can tell; None where it does, or never did."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an environment uses now."""

    memory_bytes: int
    """Without the file cache that the kernel can take back."""

    cpus: float
    """In cores."""

    pids: int
    """Processes and threads, as the limit counts them."""

    cpu_ns: int = 0
    """CPU time used since it was started."""

    network_bytes: int = 0
    """Received and sent since it was started."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of an environment, as seen from outside."""

    pid: int
    """The host's number, not the one the environment knows it by."""

    cpu_percent: float
    """Of one core, over the life of the process."""

    memory_bytes: int
    cpu_time_s: int
    command: str
    """As the process says, control characters and all: escape it where it is shown. Long ones are cut."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Files that outlive every container: a home, or what accounts share."""

    userhash: str | None
    """Whose home it is; None is the volume at /global."""


def container_name(userhash: str) -> str:
    """Name of an account's container."""
    return f"rb_{userhash}"


def home_volume_name(userhash: str) -> str:
    """Name of the volume that holds an account's home."""
    return f"home_{userhash}"


def network_name(instance: str) -> str:
    """Name of the bridge all environments of an installation are on."""
    return f"rb_{instance}"


def shared_volume_name(instance: str) -> str:
    """Name of the volume mounted at /global."""
    return f"rb_{instance}_global"


def system_volume_name(instance: str) -> str:
    """Name of the volume mounted read-only at /etc/rootblood: account names and the keys of the link."""
    return f"rb_{instance}_system"
