"""The removal of containers, which somebody else may be at as well."""

import docker
from docker.errors import APIError, NotFound

CONFLICT = 409
"""Docker's answer to what does not go with the state of a container, or of a name that is taken."""


def remove_container(api: docker.APIClient, container: str) -> bool:
    """Kill what runs in a container, and remove it; False when it was not there."""
    try:
        api.remove_container(container, force=True)
    except NotFound:
        return False
    except APIError as error:
        if error.status_code != CONFLICT:  # somebody else is removing it, or Docker by itself
            raise
    return True
