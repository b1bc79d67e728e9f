"""What is kept or carried away as files: tarballs out of homes and into them, backups of the installation."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rootblood.settings.group import Group, Seconds


class ExportSettings(Group):
    """Homes as tarballs."""

    gzip_level: Annotated[int, Field(ge=1, le=9)] = 6
    zstd_level: Annotated[int, Field(ge=1, le=19)] = 3

    max_bytes: Annotated[int, Field(ge=1)] = 64 * 2**30
    """A larger tarball is broken off: 64 GiB."""

    max_s: Seconds = 4 * 3600.0
    """One that takes longer is broken off: four hours."""

    max_concurrent: Annotated[int, Field(ge=1)] = 8
    """Tarballs made at one time."""

    max_of_account: Annotated[int, Field(ge=1)] = 2
    """The same for one account."""

    spool_expiry_s: Seconds = 24 * 3600.0
    """A tarball in the spool is deleted after this: a day."""

    spool_sweep_interval_s: Seconds = 600.0
    """How often what has expired is looked for; from its expiry on, nobody gets it anyway."""

    spool_max_bytes: Annotated[int, Field(ge=1)] = 32 * 2**30
    """All tarballs in the spool together: 32 GiB."""

    spool_max_of_account: Annotated[int, Field(ge=1)] = 3
    """Tarballs of one account in the spool; the oldest makes room for a new one."""

    spool_min_free_bytes: Annotated[int, Field(ge=0)] = 2**30
    """What a tarball leaves free on the server's disk: a GiB."""


class ImportSettings(Group):
    """Tarballs into homes."""

    max_bytes: Annotated[int, Field(ge=1)] = 64 * 2**30
    """A larger upload is refused: 64 GiB, compressed."""

    max_unpacked_bytes: Annotated[int, Field(ge=1)] = 256 * 2**30
    """An upload that holds more is broken off while it is unpacked: 256 GiB. What the disk has free is minded
    anyway."""

    max_of_account: Annotated[int, Field(ge=1)] = 4
    """Pieces of uploads that one account sends at a time; each is a process in its environment."""

    max_concurrent: Annotated[int, Field(ge=1)] = 32
    """And all accounts together."""

    max_s: Seconds = 4 * 3600.0
    """One that takes longer to unpack is broken off: four hours."""


class BackupSettings(Group):
    """Copies of the whole installation."""

    key_file: Path | None = None
    """What restic and borg encrypt with, one line, 0600; None is `backup_key` in `keys_dir`, made when it is
    first needed. Without it, such a backup is lost."""

    min_free_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    """What a backup leaves free on its disk: 256 MiB."""
