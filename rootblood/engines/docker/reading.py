"""What Docker says of a container, in our words: pure functions over its API's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rootblood.domain.environments import (
    Environment,
    EnvironmentDetails,
    EnvironmentState,
    Process,
    Usage,
)
from rootblood.engines.docker.container import IMAGE_LABEL, USERHASH_LABEL

STATES = {
    "running": EnvironmentState.RUNNING,
    "paused": EnvironmentState.PAUSED,
    "created": EnvironmentState.STOPPED,
    "exited": EnvironmentState.STOPPED,
}

_NEVER = "0001-01-01"
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a container's counters."""

    at: datetime
    cpu_ns: int
    """CPU time used since its start."""

    memory_bytes: int
    pids: int
    network_bytes: int = 0
    """Received and sent since its start."""


def environment_of(details: Mapping[str, Any]) -> Environment:
    """The environment that an inspected container is."""
    labels = details["Config"]["Labels"]
    return Environment(
        userhash=labels[USERHASH_LABEL],
        state=STATES.get(details["State"]["Status"], EnvironmentState.BROKEN),
        engine_id=details["Id"],
        image=labels.get(IMAGE_LABEL, details["Config"]["Image"]),
        created_at=moment(details["Created"]),
        image_id=details["Image"],
    )


def details_of(details: Mapping[str, Any]) -> EnvironmentDetails:
    """All of it that people may want to know."""
    state, limits = details["State"], details["HostConfig"]
    return EnvironmentDetails(
        environment=environment_of(details),
        started_at=_time_or_never(state["StartedAt"]),
        stopped_at=_time_or_never(state["FinishedAt"]),
        exit_status=state["ExitCode"],
        out_of_memory=state["OOMKilled"],
        memory_limit_bytes=limits["Memory"],
        cpu_limit=limits["NanoCpus"] / 1e9,
        pids_limit=limits["PidsLimit"],
    )


def sample_of(stats: Mapping[str, Any]) -> Sample | None:
    """One answer of the stats API; None when the container does not run."""
    memory = stats["memory_stats"]
    if stats["read"].startswith(_NEVER) or "usage" not in memory:
        return None
    detail = memory.get("stats", {})
    # cgroup v1 and v2 call it differently; `docker stats` leaves it out in the same way.
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return Sample(
        at=_precise_time(stats["read"]),
        cpu_ns=stats["cpu_stats"]["cpu_usage"]["total_usage"],
        memory_bytes=max(0, memory["usage"] - cache),
        pids=stats["pids_stats"].get("current", 0),
        network_bytes=sum(
            interface["rx_bytes"] + interface["tx_bytes"]
            for interface in (stats.get("networks") or {}).values()
        ),
    )


def usage_between(first: Sample, second: Sample) -> Usage:
    """What was used between two looks, as it is at the second."""
    seconds = (second.at - first.at).total_seconds()
    used_s = (second.cpu_ns - first.cpu_ns) / 1e9
    # A container that was started anew in between has a counter of its own.
    cpus = used_s / seconds if seconds > 0 and used_s > 0 else 0.0
    return Usage(
        memory_bytes=second.memory_bytes,
        cpus=cpus,
        pids=second.pids,
        cpu_ns=second.cpu_ns,
        network_bytes=second.network_bytes,
    )


def processes_of(top: Mapping[str, Any]) -> Sequence[Process]:
    """Rows of `ps -o pid,pcpu,rss,cputimes,args`, as the top API gives them."""
    return [
        Process(
            pid=int(pid),
            cpu_percent=float(cpu),
            memory_bytes=int(rss_kib) * _KIB,
            cpu_time_s=int(seconds),
            command=" ".join(command),
        )
        for pid, cpu, rss_kib, seconds, *command in top["Processes"] or []
    ]


def moment(text: str) -> datetime:
    """A time as Docker writes it, to the second: nanoseconds may follow, then `Z` or an offset from UTC."""
    zone = "+00:00" if text.endswith("Z") else text[-6:]
    return datetime.fromisoformat(text[:19] + zone).astimezone(UTC)


def _precise_time(text: str) -> datetime:
    return datetime.fromisoformat(text.rstrip("Z")[:26]).replace(tzinfo=UTC)


def _time_or_never(text: str) -> datetime | None:
    return None if text.startswith(_NEVER) else moment(text)
