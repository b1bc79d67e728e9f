"""What an account's home takes of the disk."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HomeSize:
    """As it was measured last, which may be a while ago."""

    used_bytes: int | None = None
    """What its files occupy, holes not counted and hard links once; None before it was first measured."""

    measured_at: datetime | None = None
    """When `used_bytes` was measured."""

    measuring: bool = False
    """Whether it is being measured again now."""

    trouble: str = ""
    """Why the last try gave nothing; empty where it did not fail."""
