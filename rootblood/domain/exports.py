"""What an export is: a home, or an account with it, as one compressed tarball for its owner to take away."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from rootblood.domain.complaints import Complaints

_ID = re.compile(r"[0-9a-f]{32}")


class ArchiveFormat(StrEnum):
    """How the tarball is compressed. The value is the end of its name."""

    GZIP = "tar.gz"
    ZSTD = "tar.zst"

    @property
    def file_name(self) -> str:
        """What the tarball is called, at every door."""
        return f"home.{self.value}"

    @property
    def media_type(self) -> str:
        """Of HTTP (RFC 6713, RFC 8878)."""
        return "application/gzip" if self is ArchiveFormat.GZIP else "application/zstd"

    @classmethod
    def of_file_name(cls, name: str) -> "ArchiveFormat | None":
        """The format of a tarball of that name; None where no tarball is called so."""
        return next((kind for kind in cls if kind.file_name == name), None)


class ExportContent(StrEnum):
    """What is in a tarball. The value is how its name begins in the spool."""

    HOME = "home"
    ACCOUNT = "account"
    """What is kept about the account, and the home."""


class ExportState(StrEnum):
    """How far an export into the spool has come."""

    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an archive has come."""

    bytes: int = 0
    """Of the archive, compressed."""

    files: int = 0
    """Files, directories and links read."""


@dataclass(frozen=True, slots=True)
class Export:
    """A tarball in the spool, or on its way there."""

    id: str
    """Random, public to the account, and good for nothing but to name it."""

    userhash: str
    format: ArchiveFormat
    state: ExportState
    created_at: datetime
    expires_at: datetime
    """When it is deleted."""

    progress: Progress = Progress()
    sha256: str | None = None
    """In hex, once it is ready."""

    warnings: Complaints = field(default_factory=Complaints)
    """What the archive lacks, as `tar` says."""

    error: str | None = None
    """Why it failed."""

    content: ExportContent = ExportContent.HOME
    server: str = ""
    """Which server makes it, or made it."""

    @property
    def file_name(self) -> str:
        """What the tarball is called in the spool, at every door: it tells its time."""
        at = self.created_at.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
        return f"{self.content.value}-{at}-{self.id[:4]}.{self.format.value}"


def is_export_id(text: str) -> bool:
    """Whether `text` could be the id of an export; cheap, and safe on hostile input of any length."""
    return _ID.fullmatch(text) is not None
