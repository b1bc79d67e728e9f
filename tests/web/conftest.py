"""A real HTTP door on a real socket, over real stores and the fake engine, and browsers for it."""

import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from rootblood.domain.accounts import Account
from rootblood.domain.logins import new_id
from rootblood.link.keys import create_link_keys, read_link_keys
from rootblood.listening import Listener
from rootblood.services.accounts import Accounts
from rootblood.services.administration import Administration
from rootblood.services.archives import EXPORT_PROGRAM
from rootblood.services.audit import Audit
from rootblood.services.bans import Bans
from rootblood.services.endings import Endings
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.homes import TIMEOUT_PROGRAM, HomeSizes
from rootblood.services.imports import IMPORT_PROGRAM, Imports
from rootblood.services.leases import Leases
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.outlooks import Outlooks
from rootblood.services.passwords import Passwords
from rootblood.services.penalties import Penalties
from rootblood.services.presence import Presence
from rootblood.services.takeout import Takeout
from rootblood.services.tokens import Tokens
from rootblood.services.unpackings import Unpackings
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings, PasswordSettings, PenaltySettings, Settings, WebSettings
from rootblood.stopping import Stop
from rootblood.stores.spool import Spool
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.schema import upgrade
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.stores.sql.visits import SqlVisitStore
from rootblood.web.server import WebDoor
from rootblood.web.services import Services
from rootblood.web.tls import read_tls
from tests.e2e.installation import free_port
from tests.fakes.engine import FakeEngine, FakeHost

FAKES = Path(__file__).parent.parent / "fakes"
PASSWORD = "correct horse battery staple"
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def form_token(self) -> str:
        found = _FORM_TOKEN.search(self.text)
        assert found is not None, self.text
        return found[1]


@dataclass
class Browser:
    """What a browser does of itself: keeps cookies, sends `Origin` with forms, follows nothing unasked."""

    url: str
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every request."""

    cookies: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    """The raw headers, all that came."""

    origin: str = ""
    """What a form's `Origin` is, where it is not the URL."""

    tls: ssl.SSLContext | bool = True
    """Whose certificates are believed."""

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {**self.headers, **({"Cookie": cookies} if cookies else {}), **(headers or {})}
        async with self.session.request(
            method, self.url + path, headers=sent, allow_redirects=False, ssl=self.tls, **options
        ) as response:
            for name, morsel in response.cookies.items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
            self.set_cookies += response.headers.getall("Set-Cookie", [])
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, headers=headers)

    async def post(
        self, path: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a form as a page of this very site would."""
        sent = {"Origin": self.origin or self.url, **(headers or {})}
        return await self.request("POST", path, headers=sent, data=dict(fields))

    async def log_in(self, name: str = "alice", password: str = PASSWORD) -> Answer:
        """Fill in the login form."""
        form = await self.get("/login")
        fields = {"form_token": form.form_token, "name": name, "password": password}
        return await self.post("/login", fields)

    async def press(self, path: str) -> Answer:
        """Press a button of the start page."""
        return await self.post(path, {"form_token": (await self.get("/")).form_token})


@dataclass
class House:
    """The services below the door, and as many doors as a test wants."""

    settings: Settings
    database: Database
    engine: FakeEngine
    endings: Endings
    accounts: Accounts
    environments: Environments
    homes: HomeSizes
    outlooks: Outlooks
    leases: Leases
    imports: Imports
    unpackings: Unpackings
    presence: Presence
    logins: Logins
    links: Links
    tokens: Tokens
    exports: Exports
    visits: Visits
    audit: Audit
    login_store: SqlLoginStore
    bans: Bans
    administration: Administration
    takeout: Takeout
    penalties: Penalties = field(default_factory=lambda: Penalties(PenaltySettings()))
    """Of every door that is opened with no others."""

    metrics: Metrics = UNMEASURED

    def door(self, settings: WebSettings, penalties: PenaltySettings | None = None) -> WebDoor:
        """A door that does not serve yet."""
        services = {part.name: getattr(self, part.name) for part in fields(Services)}
        if penalties is not None:
            services["penalties"] = Penalties(penalties)
        return WebDoor(
            Services(**services),
            motd=None,
            tls=read_tls(settings),
            settings=settings,
            metrics=self.metrics,
        )

    @asynccontextmanager
    async def open(
        self,
        settings: WebSettings | None = None,
        penalties: PenaltySettings | None = None,
        *,
        drain_s: float = 0,
    ) -> AsyncIterator[str]:
        """A door that serves, by the URL it listens on, whatever the public one."""
        settings = (settings or WebSettings()).model_copy(update={"port": free_port()})
        door = await asyncio.to_thread(self.door, settings, penalties)
        self.endings.subscribe(door.ask_again)
        self.bans.subscribe(door.close_banned)
        self.presence.add_door("web", door.terminals_of)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stop = Stop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(door.serve(Listener(settings.host, settings.port), ready, stop))
            try:
                await ready
                yield f"http{'s' if settings.tls_cert_file else ''}://127.0.0.1:{settings.port}"
            finally:
                stop.tell(drain_s)


NewBrowser = Callable[..., Browser]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings = Settings(
        state_dir=tmp_path / "state",
        passwords=PasswordSettings(memory_kib=64, time_cost=1, max_concurrent=2, max_queue=2),
    )
    database = Database(settings)
    await upgrade(database)
    (tmp_path / "host").mkdir()
    await asyncio.to_thread(create_link_keys, tmp_path / "keys")
    engine = FakeEngine(
        FakeHost(tmp_path / "host"),
        programs={
            TIMEOUT_PROGRAM: [sys.executable, str(FAKES / "disk_use.py")],
            EXPORT_PROGRAM: [sys.executable, str(FAKES / "exporter.py")],
            IMPORT_PROGRAM: [sys.executable, str(FAKES / "importer.py")],
            "/usr/bin/tmux": [sys.executable, str(FAKES / "tmux.py")],
        },
    )
    passwords = Passwords(settings.passwords)
    store = SqlAccountStore(database, settings.accounts)
    audit = Audit(SqlAuditStore(database), settings.audit)
    visit_store = SqlVisitStore(database)
    visits = Visits(visit_store, audit.record)
    lease_store = SqlLeaseStore(database)
    leases = Leases(lease_store, SqlIdlenessStore(database), settings.leases, server=new_id())
    login_store = SqlLoginStore(database)
    endings = Endings()
    environments = Environments(
        engine=engine,
        store=store,
        visits=visits,
        keys=await asyncio.to_thread(read_link_keys, tmp_path / "keys"),
        settings=LinkSettings(),
        record=audit.record,
        hold=leases.hold,
        if_unused=leases.if_unused,
    )
    accounts = Accounts(store, passwords, endings, audit.record)
    spool = Spool(tmp_path / "exports", max_bytes=2**20, min_free_bytes=0)
    await asyncio.to_thread(spool.recover)
    exports = Exports(environments, spool, settings.exports, audit.record)
    logins = Logins(login_store, settings.web, endings, audit.record)
    tokens = Tokens(SqlTokenStore(database), audit.record)
    administration = Administration(accounts, environments, exports)
    homes = HomeSizes(environments)
    imports = Imports(environments, settings.imports, audit.record)
    unpackings = Unpackings(imports)
    yield House(
        settings=settings,
        database=database,
        engine=engine,
        endings=endings,
        accounts=accounts,
        environments=environments,
        logins=logins,
        links=Links(SqlLinkStore(database), audit.record),
        tokens=tokens,
        homes=homes,
        leases=leases,
        outlooks=Outlooks(
            leases=lease_store,
            visits=visit_store,
            lease_settings=settings.leases,
            settings=settings.reaper,
            record=audit.record,
        ),
        imports=imports,
        unpackings=unpackings,
        presence=Presence(),
        visits=visits,
        audit=audit,
        login_store=login_store,
        bans=Bans(SqlBanStore(database)),
        administration=administration,
        exports=exports,
        takeout=Takeout(
            accounts=accounts, audit=audit, logins=logins, tokens=tokens, visits=visits, exports=exports
        ),
    )
    await administration.close()
    await exports.close()
    await unpackings.close()
    await imports.close()
    await homes.close()
    await leases.close()
    await environments.close()
    await visits.close()
    await audit.close()
    await engine.close()
    passwords.close()
    await database.close()


@pytest.fixture
async def alice(house: House) -> Account:
    return await house.accounts.create("alice", password=PASSWORD)


@pytest.fixture
def silent_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's page that sends no more than the handshake may be so for as long as its test takes."""
    monkeypatch.setattr("rootblood.web.terminal.websocket._HELLO_TIMEOUT_S", 3600.0)


@pytest.fixture
async def url(house: House) -> AsyncIterator[str]:
    """A door with the settings of an installation that chose nothing."""
    async with house.open() as url:
        yield url


@pytest.fixture
async def new_browser() -> AsyncIterator[NewBrowser]:
    """Make a browser with no cookies; `new_browser(url, **headers)`."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        yield lambda url, **headers: Browser(url, session, headers)


@pytest.fixture
def browser(url: str, new_browser: NewBrowser) -> Browser:
    return new_browser(url)
