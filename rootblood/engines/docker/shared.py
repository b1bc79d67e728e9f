"""What all environments of an installation share: the bridge and two volumes, one with files and names in it.

It is made before the first environment, and again when somebody has removed it under one that is about to
start. Files and names are written by a program of the image, in a container that is there for the moment.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import docker
import structlog
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from rootblood.domain.environments import Identity, network_name, shared_volume_name, system_volume_name
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.container import INSTANCE_LABEL, install_arguments
from rootblood.engines.docker.frames import take_socket
from rootblood.engines.docker.images import AcceptedImages
from rootblood.engines.docker.removal import CONFLICT
from rootblood.errors import ConfigurationError, EnvironmentFailedError
from rootblood.settings import EngineSettings

_log = structlog.stdlib.get_logger(__name__)

_NETWORK_PATIENCE_S = 3.0
_NETWORK_PAUSE_S = 0.1


class Shared:
    """Makes what they share.

    Args:
        client: of the Docker that everything is on.
        engine: label of the installation, and the addresses of the bridge.
        images: the one whose program writes files and names.
        server: what this process is called.
        icc: whether environments may reach one another over the bridge.
    """

    def __init__(
        self, client: DockerClient, engine: EngineSettings, images: AcceptedImages, server: str, *, icc: bool
    ) -> None:
        self._docker = client
        self._instance = engine.instance
        self._subnet = engine.subnet
        self._images = images
        self._server = server
        self._icc = icc

    async def install(self, files: Mapping[str, str], identities: Sequence[Identity]) -> None:
        """Make the network and the volumes, and hand files and names to the image's helper."""
        document = {
            "files": dict(files),
            "accounts": [
                {
                    "name": identity.name,
                    "uid": identity.uid,
                    "gid": identity.gid,
                    "home": identity.home,
                    "shell": "/bin/bash",
                }
                for identity in identities
            ],
        }
        await self._docker.call(self.make)
        await self._docker.call(partial(self._run_helper, document=json.dumps(document).encode()))

    def make(self, api: docker.APIClient) -> None:
        """Make the network and the volumes, where they are not there yet."""
        self.make_network(api)
        for volume in (shared_volume_name(self._instance), system_volume_name(self._instance)):
            api.create_volume(volume, labels={INSTANCE_LABEL: self._instance})

    def make_network(self, api: docker.APIClient) -> None:
        """Make the network, once: Docker lets several of one name be made at the same time."""
        name = network_name(self._instance)
        names = [f"^{name}$"]
        pools = [IPAMPool(subnet=str(self._subnet))] if self._subnet is not None else []
        if not api.networks(names=names):
            try:
                api.create_network(
                    name,
                    driver="bridge",
                    check_duplicate=True,
                    ipam=IPAMConfig(pool_configs=pools),
                    options={"com.docker.network.bridge.enable_icc": "true" if self._icc else "false"},
                    labels={INSTANCE_LABEL: self._instance},
                )
            except APIError as error:
                # Of two that are made with the same addresses at once, Docker refuses one for those.
                if error.status_code != CONFLICT and not self._comes_up(api, names):
                    raise
        # The oldest stays, by everybody's reckoning; no container is on another while there are several.
        for extra in sorted(api.networks(names=names), key=lambda row: (row["Created"], row["Id"]))[1:]:
            _log.info("network_made_twice", network=name, removed=extra["Id"])
            with suppress(NotFound):
                api.remove_network(extra["Id"])

    @staticmethod
    def _comes_up(api: docker.APIClient, names: Sequence[str]) -> bool:
        """Whether there is such a network, in a moment: one that is being made is not listed yet."""
        deadline = time.monotonic() + _NETWORK_PATIENCE_S
        while not (found := bool(api.networks(names=[*names]))) and time.monotonic() < deadline:
            time.sleep(_NETWORK_PAUSE_S)
        return found

    def _run_helper(self, api: docker.APIClient, document: bytes) -> None:
        created = api.create_container(
            **install_arguments(
                api,
                instance=self._instance,
                server=self._server,
                image=self._images.current_id(api),
            )
        )
        try:
            stream = api.attach_socket(created["Id"], params={"stdin": 1, "stream": 1})
            api.start(created["Id"])
            sock, _ = take_socket(stream)
            with sock:
                sock.settimeout(api.timeout)
                sock.sendall(document)
            status = api.wait(created["Id"])["StatusCode"]
            if status != 0:
                cause = api.logs(created["Id"]).decode(errors="replace").strip()
                _log.error("install_failed", status=status, cause=cause)
                raise EnvironmentFailedError(
                    "what environments share could not be set up; ask your administrator"
                ) from ConfigurationError(
                    f"{cause}; give this installation an engine.instance of its own, or remove the volumes "
                    f"of {self._instance!r}, if nobody needs them"
                )
        finally:
            api.remove_container(created["Id"], force=True)
