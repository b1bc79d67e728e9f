"""What was counted, and what was asked for, in Prometheus's text format."""

import platform
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from rootblood import __version__
from rootblood.domain.audit import Door
from rootblood.domain.environments import EnvironmentState
from rootblood.services.metrics import ENTRANCES, LoginOutcome

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_LINK_BUCKETS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 20)
"""Around the 100 ms it takes, up to `link.open_timeout_s`."""

_LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Registry:
    """Implements `rootblood.services.metrics.Metrics`, with a registry that is this object's own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        self._connections = Counter(
            "rootblood_connections", "Connections that came in", ["door"], registry=registry
        )
        self._turned_away = Counter(
            "rootblood_banned",
            "Connections (ssh) and requests (web) from banned networks",
            ["door"],
            registry=registry,
        )
        self._logins = Counter(
            "rootblood_logins", "Logins, by how they ended", ["door", "outcome"], registry=registry
        )
        self._link_openings = Histogram(
            "rootblood_link_opening_seconds",
            "Time from a running environment to a link into it, or to the failure",
            ["outcome"],
            buckets=_LINK_BUCKETS_S,
            registry=registry,
        )
        self._responses = Counter(
            "rootblood_http_responses",
            "Answers of the web door, by route template",
            ["route", "status"],
            registry=registry,
        )
        self._lag = Histogram(
            "rootblood_event_loop_lag_seconds",
            "How much later than asked for the event loop came round",
            buckets=_LAG_BUCKETS_S,
            registry=registry,
        )
        self._open_connections = Gauge(
            "rootblood_connections_open", "Connections that are open", ["door"], registry=registry
        )
        self._open_sessions = Gauge(
            "rootblood_sessions_open",
            "SSH sessions, and terminals of browsers, that are open",
            ["door"],
            registry=registry,
        )
        self._penalized = Gauge(
            "rootblood_penalized_sources", "Sources whose passwords are not looked at now", registry=registry
        )
        self._bans = Gauge("rootblood_bans", "Bans in force", registry=registry)
        self._environments = Gauge(
            "rootblood_environments",
            "Environments, by state; absent while the engine does not answer",
            ["state"],
            registry=registry,
        )
        self._engine_up = Gauge(
            "rootblood_engine_up", "Whether the container engine answers", registry=registry
        )
        build = Gauge(
            "rootblood_build_info", "Versions; the value is 1", ["version", "python"], registry=registry
        )
        build.labels(__version__, platform.python_version()).set(1)
        # From the start on, so that the first of each is a step and no new series.
        for door in ENTRANCES:
            self._connections.labels(door)
            self._turned_away.labels(door)
            for outcome in LoginOutcome:
                self._logins.labels(door, outcome)
        for opened in (True, False):
            self._link_openings.labels(_outcome(opened=opened))

    # What the core and the doors tell.

    def connected(self, door: Door) -> None:
        """A connection came in, and was not turned away."""
        self._connections.labels(door).inc()

    def turned_away(self, door: Door) -> None:
        """A connection or request came from a banned network."""
        self._turned_away.labels(door).inc()

    def login(self, door: Door, outcome: LoginOutcome) -> None:
        """Somebody tried to log in."""
        self._logins.labels(door, outcome).inc()

    def link_opening(self, duration_s: float, *, opened: bool) -> None:
        """A link into a running environment was opened, or could not be."""
        self._link_openings.labels(_outcome(opened=opened)).observe(duration_s)

    def responded(self, route: str, status: int) -> None:
        """The HTTP door answered."""
        self._responses.labels(route, status).inc()

    # What the listener finds out.

    def lagged(self, lag_s: float) -> None:
        """The event loop came round so much later than asked for."""
        self._lag.observe(lag_s)

    def counted(
        self,
        *,
        connections: Mapping[Door, int],
        sessions: Mapping[Door, int],
        penalized: int,
        bans: int,
        environments: Mapping[EnvironmentState, int] | None,
    ) -> None:
        """There is so much of everything now; no `environments` where the engine does not answer."""
        for door in ENTRANCES:
            self._open_connections.labels(door).set(connections[door])
            self._open_sessions.labels(door).set(sessions[door])
        self._penalized.set(penalized)
        self._bans.set(bans)
        self._engine_up.set(environments is not None)
        self._environments.clear()
        for state, count in (environments or {}).items():
            self._environments.labels(state).set(count)

    def render(self) -> bytes:
        """All of it, as `CONTENT_TYPE`. Reads files of /proc: call it in a thread."""
        return generate_latest(self._registry)


def _outcome(*, opened: bool) -> str:
    return "opened" if opened else "failed"
