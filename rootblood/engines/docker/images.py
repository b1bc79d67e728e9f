"""Which image environments are made of, kept as tags on the Docker that has the images.

The name in the settings stands for whatever was built last. What was accepted is tagged by us, and so is the
one before it: thus both are kept when the name moves on, and are no dangling images for `docker image prune`
to take. A tag rather than a row, as an image id means something to this very Docker and to no other: servers
that share it agree, and a database that was restored or moved elsewhere names no image that is not there.

The tags hold the installation's label and a digest of the name, so another name in the settings is another
beginning: the first image of a name that is needed is accepted as it is. A trial of it could only keep people
out: there is no image to go on with instead, and whoever meets one that does not work is told so.
"""

import hashlib
from typing import Any

import docker
from docker.errors import ImageNotFound

from rootblood.domain.images import Image, Images
from rootblood.engines.docker.reading import moment

CURRENT_REPOSITORY = "rootblood-current"
PREVIOUS_REPOSITORY = "rootblood-previous"

_DIGEST_CHARS = 12


class AcceptedImages:
    """The images of one installation. All of it blocks.

    Args:
        instance: label of the installation.
        name: of the image, in the settings; they may be read again, and have another one then.
    """

    def __init__(self, instance: str, name: str) -> None:
        self._instance = instance
        self.name = name

    def current_id(self, api: docker.APIClient) -> str:
        """The image to make environments of; at the first need, what the name stands for becomes that.

        Raises:
            docker.errors.ImageNotFound: there is none.
        """
        name = self.name
        tag = self._tag(name)
        current = _find(api, f"{CURRENT_REPOSITORY}:{tag}")
        if current is None:
            current = _image(api.inspect_image(name))  # type: ignore[no-untyped-call]
            api.tag(current.id, CURRENT_REPOSITORY, tag)
        return current.id

    def known(self, api: docker.APIClient) -> Images:
        """All of them; nothing is accepted by this."""
        name = self.name
        tag = self._tag(name)
        newest = _find(api, name)
        current = _find(api, f"{CURRENT_REPOSITORY}:{tag}") or newest
        previous = _find(api, f"{PREVIOUS_REPOSITORY}:{tag}")
        return Images(
            name=name,
            newest=newest,
            current=current,
            previous=None if previous == current else previous,
        )

    def accept(self, api: docker.APIClient, image_id: str) -> None:
        """Make environments of that image from now on, and keep the one before it."""
        known = self.known(api)
        before, tag = known.current, self._tag(known.name)
        if before is not None and before.id != image_id:
            # First of the two: killed in between, it has changed nothing that runs.
            api.tag(before.id, PREVIOUS_REPOSITORY, tag)
        api.tag(image_id, CURRENT_REPOSITORY, tag)

    def _tag(self, name: str) -> str:
        return f"{self._instance}.{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]}"


def _find(api: docker.APIClient, name: str) -> Image | None:
    try:
        return _image(api.inspect_image(name))  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None


def _image(details: dict[str, Any]) -> Image:
    return Image(id=details["Id"], created_at=moment(details["Created"]))
