"""Tarballs in the making that wait for the test: what passes by in a second could be missed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.installation import Client

HOLD = "until pkill -STOP -x gzip; do sleep 0.05; done; echo held"


@contextmanager
def gzip_held(client: Client) -> Iterator[Callable[[], None]]:
    """Have the account's next gzip stop once it runs.

    It has to have something to do, or it is done before it can be stopped.

    Gives:
        What lets it go on, having waited until it was stopped.
    """
    with client.open(HOLD) as holder:

        def go_on() -> None:
            assert holder.stdout is not None
            assert b"held\n" == holder.stdout.readline()
            client.output("pkill -CONT -x gzip")

        yield go_on
