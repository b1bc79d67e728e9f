"""What an import is: a tarball that becomes a directory in a home, or the home itself."""

import re
from dataclasses import dataclass
from enum import StrEnum

from rootblood.domain.complaints import Complaints

UPLOAD_ID_PATTERN = re.compile(r"[0-9a-f]{32}")
DIRECTORY_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an import goes."""

    directory: str | None = None
    """Name of a new directory in the home; None lets one be found. Matches `DIRECTORY_PATTERN`."""

    replace: bool = False
    """Whether it becomes the home itself, in which the old one is kept; `directory` says nothing then."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come."""

    bytes: int
    """Of the archive, compressed."""

    files: int


@dataclass(frozen=True, slots=True)
class Imported:
    """An import that is done."""

    directory: str
    """Name, in the home, of the directory that was made; or of the old home's, where that was replaced."""

    files: int
    warnings: Complaints
    """What is not as it was in the archive."""


class UnpackingState(StrEnum):
    """How far the unpacking of an upload has come."""

    UNPACKING = "unpacking"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Unpacking:
    """An upload that is being unpacked, or was, while the server remembers it."""

    upload_id: str
    destination: Destination
    state: UnpackingState = UnpackingState.UNPACKING
    progress: ImportProgress = ImportProgress(bytes=0, files=0)
    imported: Imported | None = None
    """What was done, once it is."""

    error: str | None = None
    """Why it failed; nothing was changed then."""
