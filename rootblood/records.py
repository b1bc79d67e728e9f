"""The services that stand on the database alone: accounts, bans, and the trails of what was done.

`rootblood.app` adds the container engine and all that has to do with it. What needs none of that stands on
these: a command that lists accounts need not even load the rest.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rootblood.errors import ConfigurationError
from rootblood.services.accounts import Accounts
from rootblood.services.audit import Audit
from rootblood.services.bans import Bans
from rootblood.services.endings import Endings
from rootblood.services.passwords import Passwords
from rootblood.services.restoring import require_restored
from rootblood.settings import Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.revisions import schema_is_current


@dataclass(frozen=True, slots=True)
class Records:
    """These services, and what the others share with them."""

    database: Database
    store: SqlAccountStore
    endings: Endings
    accounts: Accounts
    passwords: Passwords
    bans: Bans
    audit: Audit


def database_name(settings: Settings) -> str:
    """Which database the settings name, without user and password. Raises `ConfigurationError`."""
    return Database(settings).name


@asynccontextmanager
async def open_records(settings: Settings) -> AsyncIterator[Records]:
    """Build the services on this installation's database, and close them at the end.

    Raises:
        ConfigurationError: the schema is missing or old, or a restore is under way.
        StoreUnavailableError: the database does not answer.
    """
    require_restored(settings.state_dir)
    database = Database(settings)
    try:
        if not await schema_is_current(database):
            raise ConfigurationError("the database has no schema, or an old one; run: rootblood setup")
        store = SqlAccountStore(database, settings.accounts)
        audit = Audit(SqlAuditStore(database), settings.audit)
        passwords = Passwords(settings.passwords)
        endings = Endings()
        try:
            yield Records(
                database=database,
                store=store,
                endings=endings,
                accounts=Accounts(store, passwords, endings, audit.record),
                passwords=passwords,
                bans=Bans(SqlBanStore(database)),
                audit=audit,
            )
        finally:
            await audit.close()
            passwords.close()
    finally:
        await database.close()
