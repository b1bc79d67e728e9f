"""The export drive, `alice+export@host`: an account's home as files to take away.

It has no directory of this server's behind it, but a table of what there is for the account now: its home as
a tarball made on the spot, in each format, the tarballs of the spool with their checksums, and a text that
explains all of this. What a client names is looked up among those names; nothing it says becomes part of a
path. SFTP and scp are two ways to read the same table.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent, ExportState
from rootblood.domain.rendering import moment
from rootblood.errors import NotFoundError
from rootblood.services.exports import Exports
from rootblood.ssh.drive_files import LiveFile, OpenFile, SpooledFile, Start, TextFile

README = "README"

USAGE = """\
This is the export drive: the home of {name}, to take away. It is read-only, and not a shell.

  scp {name}+export@<this host>:home.tar.gz .      the home as it is now; also home.tar.zst
  scp -O {name}+export@<this host>:home.tar.gz .   the same, kept here for a while as well
  sftp {name}+export@<this host>                   see what there is: ls, get, reget
"""

_EXPLANATION = """
home.tar.gz and home.tar.zst are made while you read them, so their size is not known before. If anything goes
wrong on the way, the copy fails: what it left is not whole, and no program takes it for whole. They cannot be
resumed, nor read from the middle. Programs that must know a size before they copy cannot take them this way:
pscp needs `-scp`, sshfs `-o direct_io`.

home-<date>-<time>-<id>.* and, of `rb account export`, account-<date>-<time>-<id>.* are kept here until they
expire. They have a size and a checksum, and a copy that broke off can be resumed:

  sftp> reget home-20261123-180405-3f0c.tar.gz
  $ sha256sum -c home-20261123-180405-3f0c.tar.gz.sha256

`scp -O` of home.tar.gz or home.tar.zst makes one of these first, tells how far it is, and then copies it. It
is made to its end even if you leave, and the next `scp -O` waits for the same one. The oldest makes room for
new ones.
"""

_MAX_WARNINGS_SHOWN = 5
_FOLLOW_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the drive."""

    name: str
    """This server's own: letters, digits, `.` and `-`."""

    size_bytes: int | None
    """None where nobody knows before it is made."""

    modified_at: datetime
    content: bytes | Export | ArchiveFormat
    """The text, the tarball of the spool, or the kind of tarball to make."""


class Drive:
    """What one client sees.

    Args:
        exports: where the tarballs come from.
        account: gives the account that logged in, or raises why it may not be here any more.
        start: runs a task of the client's connection.
        tell: shows a line to the person at the client.
        by: who asks, for the account's trail.
    """

    def __init__(
        self,
        exports: Exports,
        account: Callable[[], Awaitable[Account]],
        start: Start,
        tell: Callable[[str], None],
        by: Actor = OPERATOR,
    ) -> None:
        self._exports = exports
        self._account = account
        self._start = start
        self._tell = tell
        self._by = by

    async def entries(self) -> Sequence[Entry]:
        """All files there are now.

        Raises:
            NotFoundError: the account may no longer log in.
            StoreUnavailableError: nobody can tell.
        """
        account = await self._account()
        now = datetime.now(UTC)
        kept = await self._kept(account)
        readme = readme_text(account.name, kept).encode()
        listed = [Entry(README, len(readme), now, readme)]
        listed += [Entry(kind.file_name, None, now, kind) for kind in ArchiveFormat]
        for export in kept:
            entry = kept_entry(export)
            checksum = f"{export.sha256}  {entry.name}\n".encode()
            listed += [entry, Entry(f"{entry.name}.sha256", len(checksum), entry.modified_at, checksum)]
        return listed

    async def find(self, name: str) -> Entry:
        """The file of that name, which may be any text. Raises as `entries`, and `NotFoundError`."""
        found = next((entry for entry in await self.entries() if entry.name == name), None)
        if found is None:
            raise NotFoundError("there is no such file in the export drive")
        return found

    async def open(self, entry: Entry) -> OpenFile:
        """Open a file.

        Raises:
            RootBloodError: the tarball cannot be made, as `Exports.stream`, or is not there any more.
        """
        if isinstance(entry.content, bytes):
            return TextFile(entry.content)
        account = await self._account()
        if isinstance(entry.content, Export):
            _, path = await self._exports.path(account, entry.content.id)
            return await asyncio.to_thread(SpooledFile, path)
        live = LiveFile(entry.name, await self._instead(account, entry.content), self.tell_warnings)
        await live.open(self._exports.stream(account, entry.content, by=self._by), self._start)
        return live

    async def spool(self, kind: ArchiveFormat) -> AsyncIterator[Export]:
        """Make a tarball in the spool, or wait for the one on its way there; tells how it goes, and its end.

        Raises:
            RootBloodError: as `Exports.spool`, or it was deleted meanwhile.
        """
        account = await self._account()
        begun = next(
            (
                export
                for export in await self._exports.list(account)
                if export.state is ExportState.RUNNING
                and export.format is kind
                and export.content is ExportContent.HOME
            ),
            None,
        )
        export = begun or await self._exports.spool(account, kind, by=self._by)
        async for told in self._exports.follow(account, export.id, interval_s=_FOLLOW_INTERVAL_S):
            yield told

    def tell_warnings(self, warnings: Complaints) -> None:
        """Show what a tarball lacks."""
        for line in warnings.lines(_MAX_WARNINGS_SHOWN):
            self._tell(line)

    async def _kept(self, account: Account) -> Sequence[Export]:
        return [export for export in await self._exports.list(account) if export.state is ExportState.READY]

    async def _instead(self, account: Account, kind: ArchiveFormat) -> str:
        """What to do in order to resume a tarball of that kind, or to read it from the middle."""
        newest = next(
            (
                export
                for export in await self._kept(account)
                if export.format is kind and export.content is ExportContent.HOME
            ),
            None,
        )
        if newest is not None:
            return f"take {kept_entry(newest).name}, which can be resumed"
        return f"`scp -O` of {kind.file_name} makes one that can be resumed"


def kept_entry(export: Export) -> Entry:
    """A tarball of the spool, under a name that tells its time."""
    return Entry(export.file_name, export.progress.bytes, export.created_at, export)


def readme_text(account_name: str, kept: Sequence[Export]) -> str:
    """The text of `README`."""
    told = [USAGE.format(name=account_name), _EXPLANATION]
    for export in kept:
        told.append(
            f"\n{kept_entry(export).name}\n"
            f"  bytes    {export.progress.bytes}\n"
            f"  files    {export.progress.files}\n"
            f"  sha256   {export.sha256}\n"
            f"  expires  {moment(export.expires_at)}\n"
        )
        told += [f"  lacks    {line}\n" for line in export.warnings.lines()]
    return "".join(told)
