"""Password hashing, kept from becoming a way to exhaust the server.

One argon2id check costs 19 MiB and 29 ms of a core, and anybody who reaches a door can ask for one. So checks
run in a thread pool of their own, as many at once as there are cores; a few wait; one more is refused at
once; one whose client has left before its turn is not run at all.

A check says only yes or no, and works as hard for an account that does not exist. Passwords are compared in
NFKC form: SSH has them prepared so on their way (RFC 4252 section 8, RFC 4013), and whoever sets one with an
accent at the command line must be able to type it at either door.
"""

import asyncio
import base64
import math
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rootblood.errors import InvalidInputError, LimitReachedError
from rootblood.settings import PasswordSettings

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without 0, 1, i, l and o, which people mistake for one another: 4.95 bits a character."""

_GENERATED_GROUPS = 5
_GENERATED_GROUP_CHARS = 4

_Result = TypeVar("_Result")


class Passwords:
    """Hashes and checks passwords off the event loop."""

    def __init__(self, settings: PasswordSettings) -> None:
        """Start no thread yet; `close()` ends those that were needed."""
        self.apply(settings)
        self._pool = ThreadPoolExecutor(settings.max_concurrent, thread_name_prefix="passwords")
        self._places = threading.BoundedSemaphore(settings.max_concurrent + settings.max_queue)

    def apply(self, settings: PasswordSettings) -> None:
        """Go by these settings from the next password on; how many are hashed at once stays as it is."""
        self._settings = settings
        self._hasher = PasswordHasher(
            time_cost=settings.time_cost, memory_cost=settings.memory_kib, parallelism=settings.parallelism
        )
        self._unknown = _unmatchable_hash(self._hasher)

    def close(self) -> None:
        """Drop the checks that wait and end the threads, without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a new password; returns the PHC string to store.

        Raises:
            InvalidInputError: it cannot be a password: too short, too long, or not text.
            LimitReachedError: too many checks wait already.
        """
        if len(password) < self._settings.min_chars:
            raise InvalidInputError(f"a password has at least {self._settings.min_chars} characters")
        encoded = _encoded(password)
        if encoded is None:
            raise InvalidInputError("a password is UTF-8 text without NUL")
        if len(encoded) > self._settings.max_bytes:
            raise InvalidInputError(f"a password has at most {self._settings.max_bytes} bytes")
        return await self._run(lambda: self._hasher.hash(encoded))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one hashed.

        Args:
            password_hash: the PHC string; None (no such account, or none that has a password) works as long
                and gives False.
            password: as the client sent it. One too long or not text gives False without work, whatever
                the account.

        Raises:
            LimitReachedError: too many checks wait already.
        """
        if len(password) > self._settings.max_bytes:  # a character is a byte at least: nothing to prepare
            return False
        encoded = _encoded(password)
        if encoded is None or len(encoded) > self._settings.max_bytes:
            return False
        matches = await self._run(lambda: self._verify(password_hash or self._unknown, encoded))
        return matches and password_hash is not None

    async def refuse(self, tried_at: float) -> None:
        """Wait until a refusal tells nothing of the work it took.

        An account that is there costs a little more than one that is not: a row to read, a line for its
        trail. So all are refused a fixed time after the try, or a multiple of it, as in OpenSSH (auth2.c,
        `ensure_minimum_time_since`).

        Args:
            tried_at: when the password came, by the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        step_s = self._settings.refusal_s
        steps = math.ceil((loop.time() - tried_at) / step_s)
        await asyncio.sleep(tried_at + steps * step_s - loop.time())

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the parameters have changed since this hash was made."""
        return self._hasher.check_needs_rehash(password_hash)

    def generate(self) -> str:
        """A random password of 99 bits that can be read out and typed: `k7fm-2xqa-...`."""
        return "-".join(
            "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED_GROUP_CHARS))
            for _ in range(_GENERATED_GROUPS)
        )

    def _verify(self, password_hash: str, encoded: bytes) -> bool:
        try:
            return self._hasher.verify(password_hash, encoded)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if not self._places.acquire(blocking=False):
            raise LimitReachedError("too many logins at once: try again in a moment")
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._places.release()
            raise
        # Of the pool's future, not of the one awaited: a place is free when the work is over or was never
        # begun, not when its client has left. Cancelling the awaited one takes waiting work off the queue.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def _encoded(password: str) -> bytes | None:
    """The bytes of a password; None where it is not text."""
    try:
        encoded = unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        return None
    return None if b"\0" in encoded else encoded


def _unmatchable_hash(hasher: PasswordHasher) -> str:
    """A hash in PHC form that takes as long to check as any other, and that no password has but by chance."""

    def random(length: int) -> str:
        return base64.b64encode(secrets.token_bytes(length)).decode("ascii").rstrip("=")

    return (
        f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        f"${random(hasher.salt_len)}${random(hasher.hash_len)}"
    )
