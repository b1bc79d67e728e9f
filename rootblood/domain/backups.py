"""What a backup is: parts, and a manifest that says what they are.

The manifest is written when all parts are there, so that a backup without one was cut off and is none. It
comes back from a disk that others may have had in their hands, so it is taken apart strictly.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rootblood.domain.accounts import USERHASH_PATTERN
from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import Volume
from rootblood.errors import InvalidInputError

FORMAT = 1
"""Of the manifest and of what it describes. A change that an older RootBlood cannot read is another one."""

INSTALLATION = "installation.tar"
"""The part that holds database, keys and settings."""

SQLITE_COPY = "rootblood.db"
POSTGRESQL_COPY = "rootblood.pgdump"
"""What the database is called in it, by which its kind is told."""

BACKUP_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_PART_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"[A-Za-z0-9_.-]{0,200}")


class Form(StrEnum):
    """How the parts of a backup are kept."""

    RESTIC = "restic"
    BORG = "borg"
    TAR = "tar"
    """Files, each whole in every backup."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An account, as a backup names it."""

    name: str
    uid: int
    userhash: str
    state: str


@dataclass(frozen=True, slots=True)
class Part:
    """One of the streams of bytes that a backup consists of."""

    name: str
    volume: Volume | None
    """What it is an archive of; None for `INSTALLATION`."""

    size_bytes: int
    sha256: str
    reference: str = ""
    """By which the program that keeps it finds it, where its name is not enough."""

    warnings: Complaints = field(default_factory=Complaints)
    """What the archive lacks, or has as it never was."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that is missing, and why."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a backup."""

    id: str
    form: Form
    rootblood: str
    """Version that made it."""

    instance: str
    started_at: datetime
    finished_at: datetime
    accounts: Sequence[Owner]
    parts: Sequence[Part]
    failures: Sequence[Failure] = field(default=())
    database: bool = True
    """Whether the database is in it."""

    @property
    def size_bytes(self) -> int:
        """Of all parts together."""
        return sum(part.size_bytes for part in self.parts)

    def owner(self, volume: Volume) -> str:
        """Whose a volume is, for people to read."""
        if volume.userhash is None:
            return "/global"
        names = (account.name for account in self.accounts if account.userhash == volume.userhash)
        return f"the home of {next(names, volume.userhash)}"

    def as_json(self) -> dict[str, Any]:
        """As it is written; `from_json` reads it."""
        value = asdict(self)
        for part in value["parts"]:
            volume = part.pop("volume")
            part["kind"] = "installation" if volume is None else "home" if volume["userhash"] else "global"
            part["userhash"] = volume["userhash"] if volume else None
            warnings = part.pop("warnings")
            part["warnings"], part["more_warnings"] = list(warnings["listed"]), warnings["unlisted"]
        times = {key: value[key].isoformat() for key in ("started_at", "finished_at")}
        return {"format": FORMAT, **value, **times}

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Read what `as_json` gave.

        Raises:
            InvalidInputError: it is no manifest, or that of a newer RootBlood.
        """
        try:
            value = json.loads(text)
            if value["format"] != FORMAT:
                raise InvalidInputError(
                    f"it is of format {value['format']}, and this RootBlood reads {FORMAT}: upgrade it"
                )
            return cls(
                id=_checked(value["id"], BACKUP_ID),
                form=Form(value["form"]),
                rootblood=str(value["rootblood"]),
                instance=str(value["instance"]),
                started_at=datetime.fromisoformat(value["started_at"]),
                finished_at=datetime.fromisoformat(value["finished_at"]),
                accounts=[
                    Owner(str(one["name"]), int(one["uid"]), str(one["userhash"]), str(one["state"]))
                    for one in value["accounts"]
                ],
                parts=[_part(one) for one in value["parts"]],
                failures=[Failure(str(one["name"]), str(one["error"])) for one in value["failures"]],
                database=bool(value["database"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError("the backup's manifest is damaged") from error


def _part(value: dict[str, Any]) -> Part:
    volumes = {"installation": None, "global": Volume(None)}
    kind = value["kind"]
    return Part(
        name=_checked(value["name"], _PART_NAME),
        volume=Volume(_checked(value["userhash"], USERHASH_PATTERN)) if kind == "home" else volumes[kind],
        size_bytes=int(value["size_bytes"]),
        sha256=_checked(value["sha256"], _SHA256),
        reference=_checked(value["reference"], _REFERENCE),
        # An older RootBlood has how many more there were as a line.
        warnings=Complaints.told(value["warnings"], value.get("more_warnings", 0)),
    )


def _checked(value: Any, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError("not what it should be")
    return value
