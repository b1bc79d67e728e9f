"""The listener for Prometheus: what it says, and to whom."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Network

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rootblood import __version__
from rootblood.domain.accounts import Account
from rootblood.domain.audit import Door
from rootblood.domain.environments import Environment, EnvironmentState
from rootblood.domain.networks import network_of
from rootblood.errors import EngineUnavailableError
from rootblood.listening import Listener
from rootblood.services.metrics import LoginOutcome
from rootblood.services.penalties import Penalties
from rootblood.settings import MetricsSettings, PenaltySettings, WebSettings
from rootblood.stopping import Stop
from rootblood.web.metrics.census import Census, EnvironmentCount
from rootblood.web.metrics.listener import MetricsListener
from rootblood.web.metrics.registry import Registry
from tests.web.conftest import PASSWORD, House, NewBrowser


class Figures(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """What was scraped, by name and labels."""

    def get_one(self, name: str, **labels: str) -> float | None:
        return self.get((name, frozenset(labels.items())))


def parsed(text: str) -> Figures:
    return Figures(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


async def no_environments() -> Sequence[Environment]:
    return []


CENSUS = Census(
    ssh_connections=lambda: 3,
    web_connections=lambda: 4,
    ssh_sessions=lambda: 5,
    web_terminals=lambda: 6,
    penalized=lambda: 7,
    bans=lambda: 8,
    environments=no_environments,
)


@asynccontextmanager
async def listening(
    registry: Registry, census: Census = CENSUS, settings: MetricsSettings | None = None
) -> AsyncIterator[str]:
    listener = MetricsListener(registry, census, settings or MetricsSettings())
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.serve(Listener("127.0.0.1", 0), ready, stop))
        try:
            yield await ready
        finally:
            stop.tell(0)


@dataclass
class Scraper:
    session: aiohttp.ClientSession

    async def scrape(self, url: str) -> Figures:
        async with self.session.get(url) as answer:
            assert 200 == answer.status
            assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["Content-Type"]
            return parsed(await answer.text())

    async def status(self, method: str, url: str, **headers: str) -> int:
        async with self.session.request(method, url, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def scraper() -> AsyncIterator[Scraper]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        yield Scraper(session)


async def test_what_was_told_and_what_there_is(scraper: Scraper) -> None:
    registry = Registry()
    registry.connected(Door.SSH)
    registry.turned_away(Door.WEB)
    registry.login(Door.SSH, LoginOutcome.REFUSED)
    registry.link_opening(0.09, opened=True)
    registry.link_opening(30, opened=False)
    registry.responded("/keys/{id}", 404)

    async with listening(registry) as url:
        found = await scraper.scrape(url)

    assert 1 == found.get_one("rootblood_connections_total", door="ssh")
    assert 0 == found.get_one("rootblood_connections_total", door="web")
    assert 1 == found.get_one("rootblood_banned_total", door="web")
    assert 1 == found.get_one("rootblood_logins_total", door="ssh", outcome="refused")
    assert 0 == found.get_one("rootblood_logins_total", door="web", outcome="accepted")
    assert 0 == found.get_one("rootblood_link_opening_seconds_bucket", outcome="opened", le="0.05")
    assert 1 == found.get_one("rootblood_link_opening_seconds_bucket", outcome="opened", le="0.1")
    assert 0 == found.get_one("rootblood_link_opening_seconds_bucket", outcome="failed", le="20.0")
    assert 1 == found.get_one("rootblood_link_opening_seconds_count", outcome="failed")
    assert 1 == found.get_one("rootblood_http_responses_total", route="/keys/{id}", status="404")
    assert (3, 4) == tuple(found.get_one("rootblood_connections_open", door=door) for door in ("ssh", "web"))
    assert (5, 6) == tuple(found.get_one("rootblood_sessions_open", door=door) for door in ("ssh", "web"))
    assert (7, 8) == (found.get_one("rootblood_penalized_sources"), found.get_one("rootblood_bans"))
    assert [__version__] == [
        dict(labels)["version"] for name, labels in found if name == "rootblood_build_info"
    ]
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        assert (found.get_one(name) or 0) > 0


async def test_the_event_loop_s_lag_is_measured(scraper: Scraper) -> None:
    async with listening(Registry()) as url, asyncio.timeout(60):
        while not (await scraper.scrape(url)).get_one("rootblood_event_loop_lag_seconds_count"):  # noqa: ASYNC110 - it is scraped
            await asyncio.sleep(0.1)


async def test_two_registries_share_nothing() -> None:
    one, other = Registry(), Registry()
    one.connected(Door.SSH)

    found = parsed((await asyncio.to_thread(other.render)).decode())

    assert 0 == found.get_one("rootblood_connections_total", door="ssh")


async def test_there_is_one_page(scraper: Scraper) -> None:
    async with listening(Registry()) as url:
        base = url.removesuffix("/metrics")
        assert [404] * 4 == [
            await scraper.status("GET", base + path)
            for path in ("/", "/metrics/", "/healthz", "/../metrics%00")
        ]
        assert 405 == await scraper.status("POST", url)
        assert 200 == await scraper.status("HEAD", url)
        async with scraper.session.get(url, data=b"x") as answer:
            assert 413 == answer.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9464", 200),
        ("127.0.0.1:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:9464", 200),
        ("evil.test", 421),
        ("evil.test:9464", 421),
        ("127.0.0.1.evil.test", 421),
        ("localhost.evil.test", 421),
        ("127.0.0.1@evil.test", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
async def test_a_page_that_rebinds_its_name_reads_nothing(scraper: Scraper, host: str, status: int) -> None:
    async with listening(Registry()) as url:
        assert status == await scraper.status("GET", url, Host=host)


async def test_a_name_that_the_settings_know(scraper: Scraper) -> None:
    async with listening(Registry(), settings=MetricsSettings(names=("Box.test",))) as url:
        assert 200 == await scraper.status("GET", url, Host="box.test:9464")


# The engine.


def environment(state: EnvironmentState) -> Environment:
    return Environment(
        userhash="0" * 32, state=state, engine_id="x", image="fake:1", created_at=datetime.now(UTC)
    )


async def test_an_engine_that_is_away_leaves_the_rest(scraper: Scraper) -> None:
    async def away() -> Sequence[Environment]:
        raise EngineUnavailableError("the engine does not answer")

    async with listening(Registry(), replace(CENSUS, environments=away)) as url:
        found = await scraper.scrape(url)

    assert 0 == found.get_one("rootblood_engine_up")
    assert not any(name == "rootblood_environments" for name, _ in found)
    assert 3 == found.get_one("rootblood_connections_open", door="ssh")


async def test_environments_are_counted_by_state_and_not_at_each_scrape(scraper: Scraper) -> None:
    asked = 0

    async def ask() -> Sequence[Environment]:
        nonlocal asked
        asked += 1
        running, stopped = EnvironmentState.RUNNING, EnvironmentState.STOPPED
        return [environment(state) for state in (running, running, stopped)]

    async with listening(Registry(), replace(CENSUS, environments=ask)) as url:
        for _ in range(3):
            found = await scraper.scrape(url)

    assert 1 == asked
    assert 1 == found.get_one("rootblood_engine_up")
    assert {"running": 2, "stopped": 1, "paused": 0, "broken": 0} == {
        state.value: found.get_one("rootblood_environments", state=state) for state in EnvironmentState
    }


async def test_an_engine_that_hangs_keeps_nobody_waiting_and_is_asked_once() -> None:
    asked = 0
    hang = asyncio.Event()

    async def ask() -> Sequence[Environment]:
        nonlocal asked
        asked += 1
        await hang.wait()
        return [environment(EnvironmentState.PAUSED)]

    count = EnvironmentCount(ask, patience_s=0.05)
    assert [None, None] == [await count.get() for _ in range(2)]
    hang.set()
    async with asyncio.timeout(60):
        while (found := await count.get()) is None:  # noqa: ASYNC110 - what is asked
            await asyncio.sleep(0)
    assert (1, 1) == (asked, found[EnvironmentState.PAUSED])
    await count.close()


async def test_one_that_hangs_to_the_end_is_left() -> None:
    async def ask() -> Sequence[Environment]:
        await asyncio.Event().wait()
        raise AssertionError

    count = EnvironmentCount(ask, patience_s=0.01)
    assert None is await count.get()
    await count.close()


# What the HTTP door tells.


async def test_the_door_tells_templates_and_outcomes(
    house: House, new_browser: NewBrowser, alice: Account
) -> None:
    registry = Registry()
    house.metrics = registry
    settings = WebSettings(trusted_proxies=(IPv4Network("127.0.0.1/32"),), public_url="http://box.test")
    house.penalties = Penalties(PenaltySettings(free_failures=1, first_s=600))
    async with house.open(settings) as url:
        browser = new_browser(url, **{"X-Forwarded-For": "203.0.113.7"})
        browser.origin = "http://box.test"
        for password in ("wrong password", "wrong password", PASSWORD):
            await browser.log_in(alice.name, password)
        house.penalties.forgive(network_of("203.0.113.7"))
        await browser.log_in(alice.name)
        await browser.request("DELETE", "/api/v1/keys/secret-of-alice")
        await browser.request("GET", "/secret-of-alice")
        await house.bans.add(network_of("203.0.113.7"), reason="", lifetime=None)
        await browser.get("/")
        text = (await asyncio.to_thread(registry.render)).decode()

    found = parsed(text)
    outcomes = {
        outcome.value: found.get_one("rootblood_logins_total", door="web", outcome=outcome)
        for outcome in LoginOutcome
    }
    assert {"accepted": 1, "refused": 2, "penalized": 1, "unavailable": 0} == outcomes
    assert 1 == found.get_one("rootblood_banned_total", door="web")
    assert (found.get_one("rootblood_connections_total", door="web") or 0) > 0
    routes = {
        (dict(labels)["route"], dict(labels)["status"])
        for name, labels in found
        if name == "rootblood_http_responses_total"
    }
    assert {("/login", "200"), ("/login", "303"), ("/login", "403"), ("/login", "429")} <= routes
    assert {("/api/v1/keys/{fingerprint}", "403"), ("none", "404"), ("/", "403")} <= routes
    assert "secret-of-alice" not in text
    assert PASSWORD not in text


async def test_the_settings_refuse_to_show_it_to_others_unless_told_to() -> None:
    with pytest.raises(ValueError, match=r"metrics\.allow_remote"):
        MetricsSettings(host="192.0.2.1", port=9464)
    assert "192.0.2.1" == MetricsSettings(host="192.0.2.1", port=9464, allow_remote=True).host
    assert 0 == MetricsSettings(host="::1", port=0).port
    assert None is MetricsSettings().port
