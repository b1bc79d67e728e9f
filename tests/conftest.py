"""What every test may count on: nothing blocks the event loop unseen, and no task is left behind."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from tests.postgresql import Cluster, running_cluster

# No test depends on the machine's speed, nor on what is drawn: the examples are the same in each run.
settings.register_profile(
    "rootblood", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("rootblood")


def pytest_keyboard_interrupt() -> None:
    """Let fixtures be torn down in peace: pytest-xdist interrupts a worker that takes its time once more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Make a call that would block the event loop an error, where it is RootBlood's own."""
    with blockbuster_ctx("rootblood") as guard:
        # asyncpg looks for ~/.pgpass whenever it connects; it has no other way to.
        guard.functions["os.stat"].can_block_in("asyncpg/connect_utils.py", "_read_password_from_pgpass")
        yield guard


@pytest_asyncio.fixture(autouse=True)
async def no_leftover_tasks() -> AsyncIterator[None]:
    """Fail an async test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    leftover = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert leftover - {asyncio.current_task()} == set()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL for all tests of this process that want one."""
    with running_cluster() as made:
        yield made
