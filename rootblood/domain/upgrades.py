"""Which environments were made of which image, and what moving them to another one came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from rootblood.domain.environments import Environment
from rootblood.domain.images import Image


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image, and the environments that were made of it."""

    image_id: str
    image: Image | None
    """None where it is neither current nor previous nor newest."""

    environments: Sequence[tuple[str, Environment]]
    """With the name of the account of each, or its userhash where there is no such account."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an upgrade, or a rollback, came to."""

    image: Image
    accepted: bool
    """False where it was the current one already."""

    moved: Sequence[str]
    """Names of the accounts whose environments were made anew."""

    failed: Sequence[tuple[str, str]]
    """Names of those whose environments were not, and why."""

    waiting: Sequence[str]
    """Names of those whose environments run on as they are, until they are next started."""
