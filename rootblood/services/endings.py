"""Word from what ends somebody's right to be here to what serves them.

A lock, a deletion, another password, a logout: each takes back what let somebody in, a moment or a day ago.
Who is still being served is to be asked again then, at once. Another process of the same installation cannot
be told this way, so the doors ask by themselves too, every few seconds.
"""

from collections.abc import Callable

from rootblood.domain.accounts import Account

Listener = Callable[[Account], None]


class Endings:
    """Who wants to know."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener`, on the event loop, at each ending, with the account as it was before."""
        self._listeners.append(listener)

    def tell(self, account: Account) -> None:
        """Some of those who came in as this account may have to leave."""
        for listener in self._listeners:
            listener(account)
