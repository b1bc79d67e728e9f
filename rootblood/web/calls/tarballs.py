"""`rb export --spool`, `rb exports` and `rb account export`: tarballs that the server keeps for a while.

A call is one short request, so a tarball is begun by one and its progress asked for by others. The answer to
those begins with a word for the program, `running`, `ready` or `failed`; what follows is for people.
"""

from contextlib import aclosing
from datetime import UTC, datetime

from rootblood.domain.accounts import Account
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent, ExportState
from rootblood.domain.rendering import moment, shown, table
from rootblood.errors import InvalidInputError, NotFoundError
from rootblood.services.exports import Exports
from rootblood.services.takeout import Takeout
from rootblood.web.calls.operations import ACTOR, Call, Operation

_MAX_BODY_BYTES = 128
_MIN_ID_CHARS = 4
_WAIT_S = 1.0
"""Who asks for the progress is answered after this, or at the end of the tarball."""

_MIB = 1024 * 1024
_MAX_WARNINGS = 5
_MAX_ERROR_CHARS = 200


class TarballOperations:
    """Does what `rb` asks for.

    Args:
        exports: make and keep tarballs of homes.
        takeout: makes those of whole accounts.
    """

    def __init__(self, exports: Exports, takeout: Takeout) -> None:
        self._exports = exports
        self._takeout = takeout

    def table(self) -> dict[tuple[str, str], Operation]:
        """All there are, by method and path."""
        return {
            ("GET", "/exports"): Operation(self._list),
            ("POST", "/exports"): Operation(self._begin, _MAX_BODY_BYTES),
            ("POST", "/exports/progress"): Operation(self._tell_progress, _MAX_BODY_BYTES),
            ("POST", "/exports/delete"): Operation(self._delete, _MAX_BODY_BYTES),
        }

    async def _begin(self, call: Call) -> str:
        """Take what is to be in it and how it is compressed, `home tar.zst`; give its ID."""
        try:
            word, ending = call.body.split()
            content, kind = ExportContent(word), ArchiveFormat(ending)
        except ValueError as error:
            raise InvalidInputError("a tarball is tar.gz or tar.zst") from error
        begin = self._exports.spool if content is ExportContent.HOME else self._takeout.spool
        return (await begin(call.account, kind, by=ACTOR)).id

    async def _tell_progress(self, call: Call) -> str:
        """Take an ID; answer at the end of the tarball, or else in a moment."""
        told = 0
        async with aclosing(
            self._exports.follow(call.account, call.body.strip(), interval_s=_WAIT_S)
        ) as following:
            async for export in following:
                told += 1
                if export.state is not ExportState.RUNNING:
                    return _outcome(call.account, export)
                if told > 1:
                    return _progress(export)
        raise NotFoundError("you have no such tarball any more")

    async def _list(self, call: Call) -> str:
        exports = await self._exports.list(call.account)
        rows = [
            (
                export.file_name,
                export.id[:8],
                _state(export),
                _bytes(export.progress.bytes),
                moment(export.expires_at),
            )
            for export in exports
        ]
        listed = table([("NAME", "ID", "STATE", "SIZE", "KEPT UNTIL"), *rows]).rstrip("\n")
        ready = next((export for export in exports if export.state is ExportState.READY), None)
        return f"{listed}\n\n{_how_to_fetch(call.account, ready)}" if ready is not None else listed

    async def _delete(self, call: Call) -> str:
        """Take an ID, the beginning of one, or a tarball's name."""
        wanted = call.body.strip()
        found = [
            export
            for export in await self._exports.list(call.account)
            if export.file_name == wanted or (len(wanted) >= _MIN_ID_CHARS and export.id.startswith(wanted))
        ]
        if len(found) > 1:
            raise InvalidInputError("several tarballs begin like that: give more of the ID")
        if not found:
            raise NotFoundError("you have no such tarball; `rb exports` shows those there are")
        await self._exports.delete(call.account, found[0].id)
        return f"deleted {found[0].file_name}"


def _progress(export: Export) -> str:
    elapsed_s = max(0.001, (datetime.now(UTC) - export.created_at).total_seconds())
    done = export.progress
    return f"running {_bytes(done.bytes)}, {done.files} files, {_bytes(done.bytes / elapsed_s)}/s"


def _outcome(account: Account, export: Export) -> str:
    if export.state is ExportState.FAILED:
        return f"failed {shown(export.error or 'nobody knows why', _MAX_ERROR_CHARS)}"
    lines = [
        f"ready {export.file_name}",
        f"  bytes    {export.progress.bytes}",
        f"  files    {export.progress.files}",
        f"  sha256   {export.sha256}",
        f"  expires  {moment(export.expires_at)}",
        *(f"  lacks    {line}" for line in export.warnings.lines(_MAX_WARNINGS)),
        "",
        _how_to_fetch(account, export),
    ]
    return "\n".join(lines)


def _how_to_fetch(account: Account, export: Export) -> str:
    return (
        "fetch it from where you came, with the same host and port:\n"
        f"  scp {account.name}+export@<this host>:{export.file_name} ."
    )


def _state(export: Export) -> str:
    return "failed: " + shown(export.error or "") if export.state is ExportState.FAILED else export.state


def _bytes(count: float) -> str:
    return f"{count / _MIB:.1f} MiB"
