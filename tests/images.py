"""An image of the tests' own: a name that is built again and again, from the environments' image."""

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from docker.errors import ImageNotFound

from tests.e2e.installation import docker_api
from tests.image.conftest import IMAGE


@dataclass
class OwnImage:
    """A name, and the images that had it."""

    name: str = field(default_factory=lambda: f"rootblood-test:{secrets.token_hex(4)}")
    ids: list[str] = field(default_factory=list)

    def build(self, *lines: str) -> str:
        """Build another image under the name, of one more layer or none, and return its id.

        Args:
            lines: of a Dockerfile, after the FROM. A label makes each a different one.
        """
        dockerfile = "\n".join([f"FROM {IMAGE}", f"LABEL build={secrets.token_hex(8)}", *lines])
        with docker_api() as api:
            said = list(api.build(fileobj=io.BytesIO(dockerfile.encode()), tag=self.name, rm=True))
            errors = [part["error"] for part in map(json.loads, said) if "error" in part]
            assert [] == errors
            self.ids.append(api.inspect_image(self.name)["Id"])  # type: ignore[no-untyped-call]
        return self.ids[-1]


@contextmanager
def own_image() -> Iterator[OwnImage]:
    """One for the length of a block. What is made of it has to be gone by then."""
    made = OwnImage()
    try:
        yield made
    finally:
        with docker_api() as api:
            for image in made.ids:
                with suppress(ImageNotFound):
                    api.remove_image(image, force=True)
