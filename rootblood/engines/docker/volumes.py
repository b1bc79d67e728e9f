"""Volumes as tar archives, for backups: made and unpacked by the image's own tar in a helper container.

The helper is root, to see what is its owner's alone, but all it can reach is that one volume: no network, a
read-only root, the capabilities below and no others, nobody else's program in it. So an archive that was
tampered with cannot leave the volume, whatever it holds. Docker's archive API, which does the same on the
host, is not used: it follows what containers put in its way (CVE-2026-41567, -41568, -42306).

The archive is the helper's stdin or stdout; how it ended is the last line of its stderr, so that a helper
that was killed has no good end. Docker removes a helper by itself when it has ended, as it does soon when
this process is gone: a writer has no more input then, and what a reader says is dropped.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import docker
import structlog
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount
from typing_extensions import override

from rootblood.domain.complaints import Complaints, Hearing
from rootblood.domain.environments import Volume, home_volume_name, shared_volume_name
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.container import INSTANCE_LABEL, SERVER_LABEL, USERHASH_LABEL, Arguments
from rootblood.engines.docker.frames import DemultiplexingProtocol, attach, take_socket
from rootblood.engines.docker.images import AcceptedImages
from rootblood.engines.docker.removal import CONFLICT, remove_container
from rootblood.errors import EnvironmentFailedError, NotFoundError

_log = structlog.stdlib.get_logger(__name__)

HELPER_LABEL = "rootblood.volume-helper"
_DIRECTORY = "/volume"

# The same files are the same bytes again, of which an incremental store keeps one copy: so in order, and
# without the times that reading changes.
_READ = (
    "tar --create --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"
    " --sort=name --sparse --one-file-system --numeric-owner --acls --xattrs --xattrs-include='user.*'"
    " --quoting-style=escape --warning=no-file-ignored --directory=/volume ."
)
_READ_CAPABILITIES = ["DAC_READ_SEARCH"]

# FSETID: without it chmod drops setgid for a group that is not the caller's.
_WRITE = (
    "tar --extract --preserve-permissions --same-owner --numeric-owner --acls --xattrs"
    " --xattrs-include='user.*' --quoting-style=escape --delay-directory-restore --directory=/volume"
)
_WRITE_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]

_COMPRESS = "zstd --quiet --stdout -3"
_DECOMPRESS = "zstd --quiet --stdout --decompress"
_TELL_STATUS = 'echo "ended: ${PIPESTATUS[*]}" >&2'
_STATUS = re.compile(r"ended: (\d+)(?: (\d+))?")

_TAR_SAW_CHANGES = 1
"""tar's exit status for files that changed while they were read; above it, there is no whole archive."""

_REMOVAL_ATTEMPTS = 20
_REMOVAL_PAUSE_S = 0.25
_HELD_BYTES = 1024 * 1024

_CHANGED = ("file changed as we read it", "File removed before we read it", "padding with zeros")
"""What tar says of files that changed, which is no error."""

_MAX_LINE_BYTES = 16 * 1024


class Volumes:
    """The volumes of one installation.

    Args:
        client: of the Docker that has them.
        instance: label of the installation.
        server: what this process is called.
        images: of which the current one has tar and zstd.
    """

    def __init__(self, client: DockerClient, instance: str, server: str, images: AcceptedImages) -> None:
        self._docker = client
        self._instance = instance
        self._server = server
        self._images = images

    async def list(self) -> Sequence[Volume]:
        """See `Engine.volumes`."""

        def ask(api: docker.APIClient) -> Sequence[Volume]:
            rows = api.volumes(filters={"label": f"{INSTANCE_LABEL}={self._instance}"})["Volumes"] or []
            labels = {row["Name"]: (row["Labels"] or {}).get(USERHASH_LABEL) for row in rows}
            homes = [
                Volume(userhash)
                for name, userhash in sorted(labels.items())
                if userhash is not None and name == home_volume_name(userhash)
            ]
            return homes + [Volume(None)] * (shared_volume_name(self._instance) in labels)

        return await self._docker.call(ask)

    async def read(
        self, volume: Volume, write: Callable[[bytes], Awaitable[None]], *, compressed: bool
    ) -> Complaints:
        """See `Engine.read_volume`."""
        await self._docker.call(partial(self._require, name=self._name(volume)))
        script = f"{_READ} | {_COMPRESS}; {_TELL_STATUS}" if compressed else f"{_READ}; {_TELL_STATUS}"
        async with self._helper(volume, script, _READ_CAPABILITIES, read_only=True) as helper:
            while data := await helper.read():
                await write(data)
            tar, *others = helper.statuses
        if tar > _TAR_SAW_CHANGES or any(others):
            raise self._failed("read", volume, helper)
        return helper.said if tar else Complaints()

    async def write(self, volume: Volume, pieces: AsyncIterable[bytes], *, compressed: bool) -> None:
        """See `Engine.write_volume`."""
        await self._make_anew(volume)
        script = f"{_DECOMPRESS} | {_WRITE}; {_TELL_STATUS}" if compressed else f"{_WRITE}; {_TELL_STATUS}"
        async with self._helper(volume, script, _WRITE_CAPABILITIES, read_only=False) as helper:
            async for piece in pieces:
                if not await helper.write(piece):
                    break
            helper.end_input()
            while await helper.read():
                pass  # it has nothing to say but by its end
            if any(helper.statuses):
                raise self._failed("written", volume, helper)

    def _failed(self, done: str, volume: Volume, helper: "_Helper") -> EnvironmentFailedError:
        name = self._name(volume)
        lines = helper.said.lines()
        _log.error("volume_helper_failed", volume=name, statuses=helper.statuses, said=lines)
        cause = next(iter(lines), "its tar was killed")
        return EnvironmentFailedError(f"the volume {name} could not be {done}: {cause}")

    def _name(self, volume: Volume) -> str:
        if volume.userhash is None:
            return shared_volume_name(self._instance)
        return home_volume_name(volume.userhash)

    def _require(self, api: docker.APIClient, name: str) -> None:
        # Docker would make a volume that is missing.
        try:
            api.inspect_volume(name)
        except NotFound as error:
            raise NotFoundError(f"there is no volume {name}") from error

    async def _make_anew(self, volume: Volume) -> None:
        name = self._name(volume)
        for attempt in range(_REMOVAL_ATTEMPTS):
            if await self._docker.call(partial(self._remove, name=name)):
                break
            await asyncio.sleep(_REMOVAL_PAUSE_S * (attempt > 0))
        else:
            raise EnvironmentFailedError(f"the volume {name} is in use; stop what uses it and try again")
        labels = {INSTANCE_LABEL: self._instance}
        if volume.userhash is not None:
            labels[USERHASH_LABEL] = volume.userhash
        await self._docker.call(lambda api: api.create_volume(name, labels=labels))

    def _remove(self, api: docker.APIClient, name: str) -> bool:
        """Remove a volume; False while something has it mounted, but for a helper of a killed process."""
        for row in api.containers(all=True, filters={"volume": name, "label": HELPER_LABEL}):
            remove_container(api, row["Id"])
        try:
            api.remove_volume(name)
        except NotFound:
            return True
        except APIError as error:
            if error.status_code != CONFLICT:
                raise
            return False
        return True

    @asynccontextmanager
    async def _helper(
        self, volume: Volume, script: str, capabilities: Sequence[str], *, read_only: bool
    ) -> AsyncIterator["_Helper"]:
        arguments = partial(
            _helper_arguments,
            labels={INSTANCE_LABEL: self._instance, SERVER_LABEL: self._server, HELPER_LABEL: "yes"},
            script=script,
            capabilities=capabilities,
            mount=Mount(
                target=_DIRECTORY,
                source=self._name(volume),
                type="volume",
                read_only=read_only,
                no_copy=True,
            ),
        )

        def start(api: docker.APIClient) -> tuple[str, Any, bytes]:
            made = str(api.create_container(**arguments(api, image=self._images.current_id(api)))["Id"])
            try:
                stream = api.attach_socket(made, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
                api.start(made)
                return made, *take_socket(stream)
            except BaseException:
                remove_container(api, made)
                raise

        container, sock, already_read = await self._docker.call(start)
        helper = _Helper()
        protocol = DemultiplexingProtocol(helper, helper.hear)
        transport = await attach(protocol, sock)
        try:
            protocol.data_received(already_read)
            yield helper
        finally:
            transport.abort()
            await asyncio.shield(self._docker.call(partial(remove_container, container=container)))


def _helper_arguments(
    api: docker.APIClient,
    *,
    image: str,
    labels: Mapping[str, str],
    script: str,
    capabilities: Sequence[str],
    mount: Mount,
) -> Arguments:
    return {
        "image": image,
        "command": ["/bin/bash", "-c", script],
        "user": "0:0",
        "stdin_open": True,
        "network_disabled": True,
        # C: names are bytes, and messages are those that this module knows.
        "environment": {"LC_ALL": "C"},
        "labels": dict(labels),
        "host_config": api.create_host_config(
            mounts=[mount],
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            cap_add=list(capabilities),
            security_opt=["no-new-privileges:true"],
            auto_remove=True,
            # A log driver would write the whole archive to the host's disk.
            log_config=LogConfig(type="none"),
        ),
    }


class _Helper(asyncio.Protocol):
    """The two ends of a helper: what it is given, what it gives, and what it says of itself."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._line = b""
        self._last = ""
        self._ended = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._hearing = Hearing(_CHANGED)

    @property
    def said(self) -> Complaints:
        """What tar said, errors first."""
        return self._hearing.heard()

    @property
    def statuses(self) -> Sequence[int]:
        """The exit statuses of its programs; 137 alone where it did not come to its end."""
        told = _STATUS.fullmatch(self._last)
        return [int(status) for status in told.groups() if status is not None] if told else [137]

    async def read(self) -> bytes:
        """What has come since the last call, waiting for some; empty at the end."""
        while not self._pieces and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> bool:
        """Give it input, waiting for as long as it takes none; False when it takes no more at all."""
        if not self._ended:
            self._transport.write(data)
            await self._writable.wait()
        return not self._ended

    def end_input(self) -> None:
        """Say that this was all."""
        if not self._ended:
            with suppress(OSError):  # it has ended just now, and that is to be seen by its status
                self._transport.write_eof()

    def hear(self, data: bytes) -> None:
        """Take a piece of its stderr."""
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:_MAX_LINE_BYTES]
        for line in lines:
            if self._last:
                self._hearing.take(self._last)
            self._last = line.decode(errors="backslashreplace")

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= _HELD_BYTES:
            self._transport.pause_reading()
        self._arrived.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._arrived.set()
        self._writable.set()

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()
