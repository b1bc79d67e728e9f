"""How long environments run: when one is stopped, removed or not started again, and who looks after that.

What environments are made of is in `environments`.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from rootblood.settings.group import Group, Seconds


class LeaseSettings(Group):
    """How servers tell each other, by the database, who uses which environment."""

    ttl_s: Seconds = 60.0
    """For how long the uses count of a server that died."""

    heartbeat_s: Seconds = 20.0
    """How often a server says that its uses go on: two may be missed."""

    @model_validator(mode="after")
    def _heartbeats_come_in_time(self) -> Self:
        if self.heartbeat_s > self.ttl_s / 2:
            raise ValueError("leases.heartbeat_s is at most half of leases.ttl_s, so that one may be missed")
        return self


class ReaperSettings(Group):
    """When environments are stopped that nobody uses. 0 switches the one or the other off."""

    interval_s: Seconds = 60.0
    """How often the environments that run are looked at."""

    idle_stop_s: Annotated[float, Field(ge=0)] = 12 * 3600.0
    """One that nobody uses and that does nothing is stopped after this: half a day, so that who leaves in the
    evening finds shells as they were in the morning. 0: never."""

    max_unattended_s: Annotated[float, Field(ge=0)] = 7 * 24 * 3600.0
    """One that nobody uses is stopped after this, whatever it does: a week, so that a job of a long weekend
    ends well, and a forgotten loop does not run for ever. 0: never."""

    idle_remove_s: Annotated[float, Field(ge=0)] = 14 * 24 * 3600.0
    """The container of one that has been stopped for so long is removed, never its home: two weeks.
    0: never."""

    warning_s: Annotated[float, Field(ge=0)] = 600.0
    """So long ahead of a stop, and at each look from then on, it is announced to whoever looks at the
    environment's tmux without being connected here. 0: not at all."""

    cpu_threshold: Annotated[float, Field(ge=0)] = 0.05
    """CPU use above this, in cores, is doing something; an idle shell and tmux use a thousandth. 0: CPU use
    does not count."""

    network_threshold: Annotated[float, Field(ge=0)] = 1024.0
    """So many bytes a second, both ways, are doing something; keepalives are below it. 0: they do not
    count."""

    tmux_jobs: bool = True
    """Whether a program other than a shell in the foreground of a tmux pane is doing something."""

    max_keep_s: Annotated[int, Field(ge=0)] = 7 * 24 * 3600
    """For how long `rb keep` may ask: a week. 0: there is no `rb keep`."""


class ReconcileSettings(Group):
    """How often the engine and the database are compared, and what is left over is cleared away."""

    interval_s: Seconds = 300.0
    """Besides once at each start of a server."""


class CrashLoopSettings(Group):
    """When an environment that ends by itself again and again is no longer started by the next login."""

    ends: Annotated[int, Field(ge=1)] = 5
    """So many in a row, each within `within_s`, are a loop."""

    within_s: Seconds = 120.0
    """So soon after its start."""

    first_wait_s: Seconds = 15.0
    """For how long nobody but its owner, by the rescue console or the dashboard, or an administrator starts
    it then; each further end doubles it."""

    max_wait_s: Seconds = 900.0
    """No wait is longer."""
