"""One seam to the docker SDK: its blocking calls in threads, its errors in our words.

The SDK blocks, so every call runs in a bounded thread pool. It also asks the engine for its version when the
client is made, so the client is made at the first call: a server whose Docker is away still starts.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import docker
import requests
import structlog
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, ImageNotFound

from rootblood.engines.docker.connection import ClosingClient
from rootblood.errors import (
    ConfigurationError,
    EngineUnavailableError,
    EnvironmentFailedError,
    ImageMissingError,
)
from rootblood.settings import EngineSettings

_log = structlog.stdlib.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_OWN_CONNECTIONS = 2
"""Of a client that one thread has to itself: one is busy, and one is to ask with meanwhile."""

AWAY = "the container engine does not answer; try again in a moment, or ask your administrator"

IMAGE_MISSING = (
    "the image of the environments is missing; ask your administrator, who can build it with 'make image'"
)


class DockerClient:
    """Runs calls of the docker SDK off the event loop."""

    def __init__(self, settings: EngineSettings) -> None:
        self._url = settings.url or os.environ.get("DOCKER_HOST") or DEFAULT_UNIX_SOCKET
        if not self._url.startswith(("unix://", "http+unix://", "tcp://", "http://")) or (
            os.environ.get("DOCKER_TLS_VERIFY") and self._url.startswith("tcp://")
        ):
            # The link adopts the socket of an exec; neither TLS nor ssh leaves one to adopt.
            raise ConfigurationError(
                "engine.url (or DOCKER_HOST) must be a unix:// or a plain tcp:// address"
            )
        self._timeout_s = settings.timeout_s
        self._threads = settings.max_concurrent_calls
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="docker")
        self._making = threading.Lock()
        self._api: docker.APIClient | None = None

    async def call(self, function: Callable[[docker.APIClient], T]) -> T:
        """Run `function` with the SDK's low-level client in a thread.

        Raises:
            EngineUnavailableError: the engine does not answer.
            ImageMissingError: it says that the image is not there.
            EnvironmentFailedError: any other refusal that `function` let through.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, function)

    def _run(self, function: Callable[[docker.APIClient], T]) -> T:
        try:
            return function(self._client())
        except ImageNotFound as error:
            _log.error("image_missing", cause=str(error))
            raise ImageMissingError(IMAGE_MISSING) from error
        except APIError as error:
            _log.error("engine_refused", cause=str(error))
            raise EnvironmentFailedError("the container engine refused: ask your administrator") from error
        except (requests.RequestException, DockerException, OSError) as error:
            _log.warning("engine_unavailable", url=self._url, cause=str(error))
            raise EngineUnavailableError(AWAY) from error

    def connect(self) -> docker.APIClient:
        """Make a client of the caller's own, in the caller's thread; raises what the SDK and `requests` do.

        For a call that takes as long as the server runs, which would keep one of the threads here busy.
        """
        return ClosingClient(self._url, timeout_s=int(self._timeout_s), connections=_OWN_CONNECTIONS)

    def _client(self) -> docker.APIClient:
        with self._making:
            if self._api is None:
                self._api = ClosingClient(
                    self._url, timeout_s=int(self._timeout_s), connections=self._threads
                )
            return self._api

    def close(self) -> None:
        """End the threads; a call under way is left to finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()
