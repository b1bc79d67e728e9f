"""The images that environments are made of: the one that was built last, the one in use, the one before it.

Whoever builds an image gives it the name that the settings have. Environments are not made of it for that:
only once it was tried and accepted, and from then on until the next one is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rootblood.domain.environments import Environment

_SHORT_CHARS = 12


class ImageRole(StrEnum):
    """What an image is to an installation."""

    CURRENT = "current"
    """Environments are made of it."""

    PREVIOUS = "previous"
    """They were before; a rollback goes back to it."""

    NEWEST = "newest"
    """It has the name of the settings; an upgrade takes it."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    id: str
    """A digest of all that is in it."""

    created_at: datetime

    @property
    def short_id(self) -> str:
        """Enough of the id for people to tell it from others."""
        return short_id(self.id)


@dataclass(frozen=True, slots=True)
class Images:
    """The images of an installation. One image may be several of these."""

    name: str
    """As the settings have it."""

    newest: Image | None
    """None where nothing has that name now."""

    current: Image | None
    """None where there is no image at all."""

    previous: Image | None
    """None where no other was accepted before."""

    @property
    def upgrade_waits(self) -> bool:
        """Whether one was built that is neither in use nor was rolled back."""
        return self.newest is not None and self.newest not in {self.current, self.previous}

    def roles(self, image_id: str) -> list[ImageRole]:
        """What the image of that id is; nothing where it is an older one still."""
        by_role = {
            ImageRole.CURRENT: self.current,
            ImageRole.PREVIOUS: self.previous,
            ImageRole.NEWEST: self.newest,
        }
        return [role for role, image in by_role.items() if image is not None and image.id == image_id]

    def behind(self, environments: Iterable[Environment]) -> list[Environment]:
        """Those that were made of another image than the current one, and will be made anew."""
        current = self.current
        return [one for one in environments if current is not None and one.image_id != current.id]


def short_id(image_id: str) -> str:
    """Enough of an image's id for people to tell it from others."""
    return image_id.removeprefix("sha256:")[:_SHORT_CHARS]
