"""What there is, as the database and the container engine tell it, without a way into any environment.

`rootblood.app` adds the links, and all that needs one: a command that only looks need not load that.
"""

from rootblood.domain.environments import Environment
from rootblood.engines.base import Engine
from rootblood.engines.docker.engine import DockerEngine
from rootblood.records import open_records
from rootblood.services.owners import by_account
from rootblood.settings import Settings


def build_engine(settings: Settings, server: str = "") -> Engine:
    """The engine the settings name, for the process of that ID; it is not asked anything yet."""
    sockets = settings.state_dir.absolute() / "sockets" if settings.engine.direct_streams else None
    return DockerEngine(settings.engine, settings.environment, settings.limits, sockets, server=server)


async def list_environments(settings: Settings) -> list[tuple[str | None, Environment]]:
    """The environments of this installation, as `by_account` has them.

    Raises:
        ConfigurationError: the schema is missing or old, or a restore is under way.
        StoreUnavailableError: the database does not answer.
        EngineUnavailableError: the engine does not answer.
    """
    async with open_records(settings) as records:
        engine = build_engine(settings)
        try:
            return await by_account(records.accounts, await engine.list())
        finally:
            await engine.close()
