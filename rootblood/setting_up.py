"""Making what an installation needs, and bringing what was restored up to this version."""

from rootblood.app import open_core
from rootblood.link.keys import create_link_keys
from rootblood.services.restoring import require_restored
from rootblood.settings import Settings
from rootblood.ssh.hostkeys import create_host_key
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.revisions import schema_is_current
from rootblood.stores.sql.schema import upgrade


async def set_up(settings: Settings) -> list[str]:
    """Make what an installation needs and does not have yet; nothing that is there is touched.

    Returns:
        One line for each thing that was made.
    """
    require_restored(settings.state_dir)
    made = []
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if create_host_key(settings.keys_dir):
        made.append(f"host key in {settings.keys_dir}")
    if create_link_keys(settings.keys_dir):
        made.append(f"keys of the link in {settings.keys_dir}")
    database = Database(settings)
    try:
        if not await schema_is_current(database):
            await upgrade(database)
            made.append("database schema")
    finally:
        await database.close()
    return made


async def finish_restore(settings: Settings) -> None:
    """Bring what was restored up to this version, and let environments resolve the accounts' names.

    Raises:
        EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: `serve` does
            it at its start, too.
    """
    await set_up(settings)
    async with open_core(settings) as core:
        await core.environments.shared.prepare()
