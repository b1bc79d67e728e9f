"""The HTTP door: listens, and puts its parts behind one address."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Door
from rootblood.domain.visitors import Visitor
from rootblood.listening import Listener
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.terminals import Terminals
from rootblood.services.tmux import TmuxSessions
from rootblood.settings import WebSettings
from rootblood.stopping import Stop
from rootblood.web.api import PREFIX
from rootblood.web.api.admin.accounts import AccountOperations
from rootblood.web.api.admin.bans import BanOperations
from rootblood.web.api.admin.environments import EnvironmentOperations
from rootblood.web.api.auth import ApiAuthentication
from rootblood.web.api.exports import ExportOperations
from rootblood.web.api.imports import ImportOperations
from rootblood.web.api.operations import Api
from rootblood.web.api.problems import problem
from rootblood.web.assets import Assets
from rootblood.web.auth import Doorkeeper
from rootblood.web.bans import BanGuard
from rootblood.web.bodies import MAX_BODY_BYTES, read_bodies
from rootblood.web.calls.leaving import LeavingOperations
from rootblood.web.calls.operations import Operations
from rootblood.web.calls.server import Calls
from rootblood.web.calls.tarballs import TarballOperations
from rootblood.web.clients import Clients
from rootblood.web.connections import Connection
from rootblood.web.exports.downloads import Downloads
from rootblood.web.exports.live import LiveExports
from rootblood.web.exports.spooled import SpooledExports
from rootblood.web.health import Health
from rootblood.web.middlewares import (
    count_responses,
    require_confidence,
    security_headers,
    tell_failures,
)
from rootblood.web.pages import Pages
from rootblood.web.pages.account import AccountPage
from rootblood.web.pages.dashboard import Dashboard
from rootblood.web.pages.exports import ExportPages
from rootblood.web.pages.imports import ImportPage
from rootblood.web.pages.links import LinkPages
from rootblood.web.pages.login import LoginPages
from rootblood.web.pages.members import Members
from rootblood.web.pages.terminal import TerminalPage
from rootblood.web.pages.tokens import TokenPages
from rootblood.web.requests import Requests
from rootblood.web.services import Services
from rootblood.web.terminal.sockets import TerminalSockets

_log = structlog.stdlib.get_logger(__name__)

_SHUTDOWN_TIMEOUT_S = 5.0
"""Of the requests that were broken off."""

_HANDSHAKE_TIMEOUT_S = 10.0  # asyncio's own default is a minute


class _Site(web.BaseSite):
    """aiohttp's SockSite, which has no say in how long a TLS handshake takes and in what a connection is."""

    def __init__(
        self,
        runner: web.AppRunner,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        on_connection: Callable[[], asyncio.Protocol],
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._sock = sock
        self._on_connection = on_connection

    @property
    @override
    def name(self) -> str:
        return str(self._sock.getsockname())

    @override
    async def start(self) -> None:
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self._on_connection,
            sock=self._sock,
            ssl=self._ssl_context,
            ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if self._ssl_context is not None else None,
            backlog=self._backlog,
        )


class WebDoor:
    """An HTTP server in front of the services.

    Args:
        services: what it is in front of.
        motd: what a new terminal shows, safe to show; None leaves that to the image.
        tls: of the door itself; None where it has none.
        settings: limits, and what stands in front.
        metrics: count what happens.
    """

    def __init__(
        self,
        services: Services,
        *,
        motd: str | None,
        tls: ssl.SSLContext | None,
        settings: WebSettings,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._services = services
        self._settings = settings
        self._metrics = metrics
        self._terminals = Terminals(services.environments, motd)
        self._tls = tls
        self._clients = Clients(settings)
        self._doorkeeper = Doorkeeper(
            accounts=services.accounts,
            logins=services.logins,
            penalties=services.penalties,
            visits=services.visits,
            clients=self._clients,
            metrics=metrics,
        )
        self._ban_guard = BanGuard(services.bans, self._clients, metrics)
        self._health = Health(services.accounts, services.environments)
        self._authentication = ApiAuthentication(self._doorkeeper, services.tokens)
        self._downloads = Downloads(self._authentication)
        self._requests = Requests()
        self._sockets: TerminalSockets | None = None
        self._server: web.Server | None = None
        self._tmux_sessions = TmuxSessions(services.environments)
        self._calls = Calls(
            services.accounts,
            Operations(
                accounts=services.accounts,
                environments=services.environments,
                links=services.links,
                logins=services.logins,
                tmux_sessions=self._tmux_sessions,
                penalties=services.penalties,
                homes=services.homes,
                outlooks=services.outlooks,
                presence=services.presence,
            ),
            TarballOperations(services.exports, services.takeout),
            LeavingOperations(services.accounts, services.administration, services.penalties),
        )

    def apply(self, settings: WebSettings, motd: str | None, tls: ssl.SSLContext | None) -> None:
        """Take what can change while the door serves: proxies, message of the day and certificate."""
        self._clients.apply(settings)
        self._terminals.motd = motd
        self._tls = tls
        if tls is not None:
            _log.info("certificate_read", file=str(settings.tls_cert_file))

    def answer(self, account: Account) -> asyncio.Protocol | None:
        """What serves a connection that a program of the account's environment makes to this door.

        None while the door does not serve.
        """
        return self._calls.answer(account)

    def terminals_of(self, account: Account) -> Sequence[Visitor]:
        """The account's open terminals."""
        return self._sockets.open_of(account) if self._sockets is not None else []

    def ask_again(self, account: Account) -> None:
        """End terminals and downloads of the account at once whose clients may not have them any more."""
        self._downloads.ask_again(account.userhash)
        if self._sockets is not None:
            self._sockets.ask_again(account.userhash)

    def show(self, userhash: str, text: str) -> None:
        """Show a line on the terminals that an account has open."""
        if self._sockets is not None:
            self._sockets.show(userhash, text)

    def close_banned(self) -> None:
        """Close terminals, and break off requests, that come from networks that are banned by now."""
        if self._sockets is not None:
            told = self._sockets.end_banned(self._ban_guard.is_banned)
            self._ban_guard.break_off(but=told)

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._server.connections) if self._server is not None else 0

    @property
    def terminal_count(self) -> int:
        """How many terminals browsers have open."""
        return self._sockets.count if self._sockets is not None else 0

    async def serve(self, listener: Listener, ready: "asyncio.Future[str]", stop: Stop) -> None:
        """Accept requests until `stop`, then wait for those that are under way, and return.

        Args:
            listener: where they come in.
            ready: gets the URL once the door accepts.
            stop: ends it.

        Raises:
            OSError: the address cannot be listened on.
        """
        if self._tls is not None:
            self._tls.sni_callback = self._show_certificate
        runner = web.AppRunner(
            await asyncio.to_thread(self._application), shutdown_timeout=_SHUTDOWN_TIMEOUT_S
        )
        await runner.setup()
        try:
            self._server = runner.server
            for sock in await listener.open():
                await _Site(runner, sock, self._tls, self._new_connection).start()
            scheme = "https" if self._tls is not None else "http"
            self._calls.url = self._settings.public_url or f"{scheme}://{listener.address}"
            ready.set_result(self._calls.url)
            await stop.told.wait()
            await self._drain(runner, listener, stop)
        finally:
            self._calls.url = None
            self._server = None
            await runner.cleanup()
            listener.close()

    def _new_connection(self) -> asyncio.Protocol:
        if self._server is None:
            raise RuntimeError("the door serves before it is connected to")
        self._metrics.connected(Door.WEB)
        return Connection(
            self._server,
            # Counts from the start of a connection and after each response, so it bounds slow headers too.
            keepalive_timeout=self._settings.keepalive_s,
        )

    async def _drain(self, runner: web.AppRunner, listener: Listener, stop: Stop) -> None:
        """Close to what is new, and let what is under way come to its end; a terminal goes on elsewhere."""
        if self._sockets is not None:
            self._sockets.stop()
        await listener.retire()
        for site in runner.sites:
            await site.stop()
        if runner.server is not None:
            await self._requests.drain(runner.server, stop)

    def _show_certificate(self, connection: ssl.SSLObject, _name: str | None, _listening: object) -> None:
        """Have a handshake, with or without a name in it, go on with the certificate that was read last."""
        if self._tls is not None:
            connection.context = self._tls

    def _application(self) -> web.Application:
        """All routes, with what holds for each of them."""
        services = self._services
        base = urlsplit(self._settings.public_url or "").path
        assets = Assets()
        pages = Pages(assets, base)
        members = Members(self._doorkeeper, pages)
        terminal = TerminalPage(
            doorkeeper=self._doorkeeper,
            members=members,
            pages=pages,
            terminals=self._terminals,
        )
        self._sockets = terminal.sockets
        dashboard = Dashboard(
            members=members,
            environments=services.environments,
            homes=services.homes,
            outlooks=services.outlooks,
            presence=services.presence,
            tmux_sessions=self._tmux_sessions,
            logins=services.logins,
            exports=services.exports,
            pages=pages,
        )
        routes = [
            *self._health.routes(),
            *assets.routes(),
            *LoginPages(self._doorkeeper, pages).routes(),
            *dashboard.routes(),
            *AccountPage(
                doorkeeper=self._doorkeeper, members=members, accounts=services.accounts, pages=pages
            ).routes(),
            *LinkPages(doorkeeper=self._doorkeeper, links=services.links, pages=pages).routes(),
            *ExportPages(members=members, exports=services.exports, pages=pages).routes(),
            *LiveExports(services.exports, self._downloads).routes(),
            *SpooledExports(services.exports, self._downloads).routes(),
            *ImportPage(members, pages).routes(),
            *TokenPages(members=members, tokens=services.tokens, pages=pages).routes(),
            *terminal.routes(),
            *Api(
                accounts=services.accounts,
                environments=services.environments,
                logins=services.logins,
                links=services.links,
                tokens=services.tokens,
                audit=services.audit,
                homes=services.homes,
                outlooks=services.outlooks,
                presence=services.presence,
                tmux_sessions=self._tmux_sessions,
                authentication=self._authentication,
                base=base,
                others=[
                    *ExportOperations(services.exports, base).operations(),
                    *ImportOperations(services.imports, services.unpackings, base).operations(),
                    *AccountOperations(services.accounts, services.administration, base).operations(),
                    *EnvironmentOperations(
                        services.accounts,
                        services.environments,
                        services.homes,
                        services.outlooks,
                        services.administration,
                    ).operations(),
                    *BanOperations(services.bans, services.penalties).operations(),
                ],
            ).routes(),
        ]
        # A proxy may take the path of the site off or leave it.
        bases = {"", base}
        api_paths = tuple(prefix + PREFIX for prefix in bases)
        download_paths = tuple(f"{prefix}/export/" for prefix in bases)

        def refusal(request: web.Request, status: HTTPStatus, text: str) -> web.Response:
            by_program = request.path.startswith(api_paths) or (
                request.path.startswith(download_paths) and "Authorization" in request.headers
            )
            tell = problem if by_program else pages.refusal
            return tell(request, status, text)

        open_paths = {"/healthz", "/readyz", *(prefix + path for prefix in bases for path in assets.paths)}
        application = web.Application(
            middlewares=[
                self._requests.middleware,
                count_responses(self._metrics),
                tell_failures(refusal),
                self._ban_guard.middleware,
                require_confidence(self._clients, open_paths=frozenset(open_paths)),
                read_bodies(self._settings.body_timeout_s),
            ],
            client_max_size=MAX_BODY_BYTES,
        )
        application.on_response_prepare.append(security_headers)
        application.on_shutdown.append(self._downloads.stop)
        application.on_cleanup.append(dashboard.progress.stop)
        application.add_routes(
            web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs)
            for prefix in bases
            for route in routes
        )
        return application
