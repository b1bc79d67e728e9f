"""How large homes are, told at once and measured behind.

A home may have a million files, or be made to be slow to walk. So nobody waits for a measurement longer than
a moment: what was measured last is told, and a new one begins when that is old. It is a `du` in the
environment, as the account, at its lowest priority and on its share of the machine; what bounds it is a
`timeout` beside it rather than this process, which cannot end what it has no connection to. A home that takes
long is measured less often, so that measuring is never more than a small part of what its environment does.

Only a running environment is measured. What is kept is kept in memory: a restart of the server forgets it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.homes import HomeSize
from rootblood.errors import EnvironmentFailedError, RootBloodError
from rootblood.services.environments import Environments

_log = structlog.stdlib.get_logger(__name__)

TIMEOUT_PROGRAM = "/usr/bin/timeout"

_MAX_S = 120.0
"""For one measurement."""

_COMMAND = (
    TIMEOUT_PROGRAM, "--signal=KILL", f"{_MAX_S:g}",
    "/usr/bin/nice", "-n", "19", "/usr/bin/ionice", "-c", "3",
    # The whole volume, of which the home is a part: what lies beside it takes the same disk.
    "/usr/bin/du", "--summarize", "--one-file-system", "--block-size=1", "/home",
)  # fmt: skip

_MAX_ANSWER_BYTES = 64
_MAX_AGE_S = 60.0
_MAX_SHARE = 0.05
"""Of the time that an account's home may be being measured: one that takes 10 s is measured every 200."""

_MAX_CONCURRENT = 2
"""Homes measured at one time: they are on one disk."""

_BREAKING_OFF_S = 5.0
"""What `timeout` is given to end it, before this side gives up by itself."""

_MAX_BYTES = 2**63 - 1


@dataclass(slots=True)
class _Record:
    size: HomeSize = field(default_factory=HomeSize)
    next_at: float = 0.0
    task: asyncio.Task[None] | None = None


class HomeSizes:
    """Tells the sizes of homes.

    Args:
        environments: where they are.
        clock: seconds that only ever grow; a test's own.
    """

    def __init__(self, environments: Environments, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._environments = environments
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._turns = asyncio.Semaphore(_MAX_CONCURRENT)

    async def of(self, account: Account, *, running: bool, patience_s: float = 0.0) -> HomeSize:
        """The size of the account's home as far as it is known; begins to measure what is not known any more.

        Args:
            account: whose home.
            running: whether the account's environment runs, as it is not measured otherwise.
            patience_s: how long to wait for a measurement that is under way; a small home takes milliseconds.
        """
        record = self._records.setdefault(account.userhash, _Record())
        if running and record.task is None and self._clock() >= record.next_at:
            record.task = asyncio.get_running_loop().create_task(self._measure(account, record))
        if record.task is not None:
            await asyncio.wait([record.task], timeout=patience_s)
        return replace(record.size, measuring=record.task is not None)

    async def close(self) -> None:
        """Measure nothing any more."""
        tasks = [record.task for record in self._records.values() if record.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _measure(self, account: Account, record: _Record) -> None:
        started_at = self._clock()
        try:
            async with self._turns:
                started_at = self._clock()
                said = await self._environments.programs.run(
                    account, _COMMAND, timeout_s=_MAX_S + _BREAKING_OFF_S, max_bytes=_MAX_ANSWER_BYTES
                )
                used = _parsed(said, self._clock() - started_at)
            record.size = HomeSize(used_bytes=used, measured_at=datetime.now(UTC))
        except RootBloodError as error:
            _log.info("home_not_measured", userhash=account.userhash, cause=str(error))
            record.size = replace(record.size, trouble=str(error))
        except Exception:  # noqa: BLE001 - the edge
            _log.exception("home_measurement_crashed", userhash=account.userhash)
            record.size = replace(record.size, trouble="it could not be measured")
        finally:
            took_s = self._clock() - started_at
            record.next_at = self._clock() + max(_MAX_AGE_S, took_s / _MAX_SHARE)
            record.task = None


def _parsed(said: str, took_s: float) -> int:
    """The number that `du` begins with. Raises `EnvironmentFailedError`: the account may have meddled."""
    number = said.partition("\t")[0]
    if number.isascii() and number.isdigit() and int(number) <= _MAX_BYTES:
        return int(number)
    if took_s >= _MAX_S:
        raise EnvironmentFailedError(f"it has too many files to be measured within {_MAX_S:g} s")
    raise EnvironmentFailedError("it could not be measured")
