"""Whose environments there are."""

from collections.abc import Iterable

from rootblood.domain.environments import Environment
from rootblood.services.accounts import Accounts


async def by_account(
    accounts: Accounts, environments: Iterable[Environment]
) -> list[tuple[str | None, Environment]]:
    """Each environment with the name of its account, in order; None, and last, where nobody has it.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    names = {account.userhash: account.name for account in await accounts.list(include_deleted=True)}
    rows = [(names.get(found.userhash), found) for found in environments]
    return sorted(rows, key=lambda row: (row[0] is None, row[0] or row[1].userhash))
