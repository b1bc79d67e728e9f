"""The HTTP door. So far it answers /healthz, so that a supervisor can tell that the process serves."""

import asyncio

from aiohttp import web

from rootblood.settings import WebSettings

_SHUTDOWN_TIMEOUT_S = 5.0
_KEEPALIVE_TIMEOUT_S = 30.0  # AppRunner's own default is over an hour


class WebDoor:
    """An HTTP server in front of the services.

    Args:
        settings: address.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings

    async def serve(self, ready: "asyncio.Future[str]", stop: asyncio.Event) -> None:
        """Accept requests until `stop`.

        Args:
            ready: gets the URL once the door accepts.
            stop: ends it.

        Raises:
            OSError: the address cannot be listened on.
        """
        application = web.Application()
        application.router.add_get("/healthz", _healthz)
        runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_TIMEOUT_S,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port).start()
            host, port = runner.addresses[0][:2]
            bracketed = f"[{host}]" if ":" in host else host
            ready.set_result(self._settings.public_url or f"http://{bracketed}:{port}")
            await stop.wait()
        finally:
            await runner.cleanup()


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})
