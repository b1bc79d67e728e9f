"""What this Docker has for an installation, by labels, and what its servers left in their socket directories.

For reconciliation, which decides what of it is left over; see `rootblood.domain.reconciliation`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import docker
from docker.errors import APIError, NotFound

from rootblood.domain.accounts import USERHASH_PATTERN
from rootblood.domain.environments import (
    container_name,
    network_name,
    shared_volume_name,
    system_volume_name,
)
from rootblood.domain.reconciliation import Holding, HoldingKind, Lack
from rootblood.engines.base import STOP_GRACE_S
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.container import INSTANCE_LABEL, SERVER_LABEL, TRIAL_LABEL, USERHASH_LABEL
from rootblood.engines.docker.removal import CONFLICT, remove_container
from rootblood.engines.docker.streams import Streams


class Holdings:
    """The containers, sockets and shared parts of one installation.

    Args:
        client: of the Docker that has them.
        streams: have the sockets.
        instance: label of the installation.
    """

    def __init__(self, client: DockerClient, streams: Streams, instance: str) -> None:
        self._docker = client
        self._streams = streams
        self._instance = instance

    async def list(self) -> Sequence[Holding]:
        """See `Engine.holdings`."""

        def ask(api: docker.APIClient) -> Sequence[Holding]:
            label = f"{INSTANCE_LABEL}={self._instance}"
            rows = api.containers(all=True, filters={"label": label})
            return [*map(_container, rows), *self._streams.holdings()]

        return await self._docker.call(ask)

    async def discard(self, holding: Holding) -> bool:
        """See `Engine.discard`."""
        if holding.kind in {HoldingKind.CONTAINER, HoldingKind.HELPER}:
            return await self._docker.call(partial(_remove_in_order, container=holding.id))
        return await self._docker.call(lambda _: self._streams.discard(holding))

    async def lacks(self) -> Sequence[Lack]:
        """See `Engine.lacks`."""

        def ask(api: docker.APIClient) -> Sequence[Lack]:
            network = network_name(self._instance)
            found = {row["Name"]: row["Labels"] for row in api.networks(names=[f"^{network}$"])}
            lacks = list(self._lacking(network, found))
            for volume in (shared_volume_name(self._instance), system_volume_name(self._instance)):
                try:
                    found = {volume: api.inspect_volume(volume)["Labels"]}
                except NotFound:
                    found = {}
                lacks += self._lacking(volume, found)
            return lacks

        return await self._docker.call(ask)

    def _lacking(self, name: str, found: Mapping[str, Mapping[str, str] | None]) -> Iterator[Lack]:
        if name not in found:
            yield Lack(name, taken=False)
        elif (found[name] or {}).get(INSTANCE_LABEL) != self._instance:
            yield Lack(name, taken=True)


def _container(row: Mapping[str, Any]) -> Holding:
    label = row["Labels"].get(USERHASH_LABEL)
    userhash = label if label is not None and USERHASH_PATTERN.fullmatch(label) else None
    names = [name.removeprefix("/") for name in row["Names"]]
    is_helper = label is None
    return Holding(
        kind=HoldingKind.HELPER if is_helper else HoldingKind.CONTAINER,
        id=row["Id"],
        made_at=datetime.fromtimestamp(row["Created"], UTC),
        userhash=userhash,
        server=row["Labels"].get(SERVER_LABEL),
        # What an image is tried in never ends by itself.
        is_at_work=is_helper and row["State"] == "running" and TRIAL_LABEL not in row["Labels"],
        is_surplus=userhash is not None and container_name(userhash) not in names,
    )


def _remove_in_order(api: docker.APIClient, container: str) -> bool:
    """Stop what runs in it as at any stop, and remove it; False when it was not there."""
    try:
        state = api.inspect_container(container)["State"]
        if state["Running"] and not state["Paused"]:
            api.stop(container, timeout=int(STOP_GRACE_S))
    except NotFound:
        return False
    except APIError as error:
        if error.status_code != CONFLICT:  # somebody else is removing it
            raise
    return remove_container(api, container)
