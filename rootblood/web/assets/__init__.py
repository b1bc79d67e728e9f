"""What pages need besides themselves: read once, kept in memory, and cached by browsers for good.

An asset's path has a digest of its content in it, so that a new version is another path.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    content_type: str


class Assets:
    """The files beside this module. Making it reads them, which blocks."""

    def __init__(self) -> None:
        self._by_path: dict[str, _Asset] = {}
        self._paths: dict[str, str] = {}
        for file in files(__name__).iterdir():
            suffix = file.name[file.name.rfind(".") :]
            if suffix not in _TYPES:
                continue
            content = file.read_bytes()
            path = f"/assets/{hashlib.sha256(content).hexdigest()[:16]}/{file.name}"
            self._by_path[path] = _Asset(content, _TYPES[suffix])
            self._paths[file.name] = path

    def path(self, name: str) -> str:
        """Path of the asset `name`, below the site's."""
        return self._paths[name]

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all assets."""
        return frozenset(self._by_path)

    def routes(self) -> list[web.RouteDef]:
        """One for each asset."""
        return [web.get(path, _handler(asset)) for path, asset in self._by_path.items()]


def _handler(asset: _Asset) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(
            body=asset.content,
            content_type=asset.content_type,
            charset="utf-8",
            headers={"Cache-Control": _FOR_GOOD},
        )

    return handle
