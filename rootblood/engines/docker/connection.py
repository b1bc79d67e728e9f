"""The docker SDK's low-level client, made to leave no socket behind when Docker is away.

Where a UNIX socket cannot be connected, the SDK drops the one it made without closing it, and not even the
client's `close` reaches it (docker-py#3356): each call in vain keeps a file descriptor until the garbage
collector comes. And a client asks for the engine's version as it is made: when that fails, nobody has the
client to close it.
"""

import socket

import docker
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool
from requests.adapters import BaseAdapter
from typing_extensions import override


class ClosingClient(docker.APIClient):
    """A client of the engine's own API version that closes what it cannot use.

    Args:
        url: a unix or TCP address, as `docker.APIClient` takes it.
        timeout_s: how long to wait for an answer.
        connections: how many are kept open between calls.

    Raises:
        docker.errors.DockerException: the engine does not say its version.
    """

    def __init__(self, url: str, *, timeout_s: int, connections: int) -> None:
        try:
            super().__init__(base_url=url, version="auto", timeout=timeout_s, max_pool_size=connections)
        except BaseException:
            self.close()
            raise

    @override
    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Put our adapter where the SDK puts its own for a UNIX socket."""
        if isinstance(adapter, UnixHTTPAdapter):
            adapter = _Adapter(adapter.socket_path, adapter.timeout, max_pool_size=adapter.max_pool_size)
        super().mount(prefix, adapter)


class _Adapter(UnixHTTPAdapter):
    @override
    def get_connection(self, url: str | bytes, proxies: object = None) -> UnixHTTPConnectionPool:
        with self.pools.lock:
            pool: UnixHTTPConnectionPool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(str(url), self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
        return pool


class _Pool(UnixHTTPConnectionPool):
    @override
    def _new_conn(self) -> UnixHTTPConnection:  # type: ignore[override] # as the SDK does it
        return _Connection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type] # an int


class _Connection(UnixHTTPConnection):
    @override
    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self.unix_socket)
        except BaseException:
            made.close()
            raise
        self.sock = made
