"""Everybody's environments, for administrators."""

from datetime import datetime
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict

from rootblood.domain import environments
from rootblood.domain.environments import EnvironmentState, StopReason
from rootblood.domain.tokens import Scope
from rootblood.services.accounts import Accounts
from rootblood.services.administration import Administration
from rootblood.services.environments import Environments
from rootblood.services.homes import HomeSizes
from rootblood.services.outlooks import Outlooks
from rootblood.web.api import models
from rootblood.web.api.table import Call, Operation


class AccountEnvironment(BaseModel):
    """The environment of an account."""

    model_config = ConfigDict(frozen=True)

    name: str | None
    """Of the account; null where the database knows no such account."""

    userhash: str
    state: EnvironmentState
    image: str
    engine_id: str
    created_at: datetime

    @classmethod
    def of(cls, name: str | None, environment: environments.Environment) -> "AccountEnvironment":
        """An environment, as the engine sees it."""
        return cls(
            name=name,
            userhash=environment.userhash,
            state=environment.state,
            image=environment.image,
            engine_id=environment.engine_id,
            created_at=environment.created_at,
        )


class AccountEnvironments(BaseModel):
    """The environments of this installation, by account."""

    model_config = ConfigDict(frozen=True)

    environments: list[AccountEnvironment]


class EnvironmentOperations:
    """What is done with environments that are somebody's.

    Args:
        accounts: know whose.
        environments: are stopped and removed.
        homes: how large they are.
        outlooks: why they are alive.
        administration: lists them.
    """

    def __init__(
        self,
        accounts: Accounts,
        environments: Environments,
        homes: HomeSizes,
        outlooks: Outlooks,
        administration: Administration,
    ) -> None:
        self._accounts = accounts
        self._homes = homes
        self._outlooks = outlooks
        self._environments = environments
        self._administration = administration

    def operations(self) -> list[Operation]:
        """For the table."""
        return [
            Operation(
                "GET", "/admin/environments", "listAllEnvironments", "All environments with their states",
                Scope.ADMIN_READ, self._list, gives=AccountEnvironments,
            ),
            Operation(
                "POST", "/admin/environments/{name}/stop", "stopAccountEnvironment",
                "Stop an account's environment, and with it every session in it; the home stays",
                Scope.ADMIN_WRITE, self._stop, gives=models.Environment,
            ),
            Operation(
                "DELETE", "/admin/environments/{name}", "removeAccountEnvironment",
                "Remove an account's container; the home stays",
                Scope.ADMIN_WRITE, self._remove, status=HTTPStatus.NO_CONTENT,
            ),
        ]  # fmt: skip

    async def _list(self, _call: Call) -> BaseModel:
        rows = await self._administration.environments()
        return AccountEnvironments(environments=[AccountEnvironment.of(*row) for row in rows])

    async def _stop(self, call: Call) -> BaseModel:
        account = await self._accounts.get(call.path["name"])
        await self._environments.stop(account, StopReason.ADMINISTRATOR, by=call.actor)
        return models.Environment.of(
            await self._environments.inspect(account),
            await self._environments.usage(account),
            await self._homes.of(account, running=False, patience_s=0),
            await self._outlooks.of(account, running=False),
        )

    async def _remove(self, call: Call) -> None:
        account = await self._accounts.get(call.path["name"])
        await self._environments.remove(account, StopReason.ADMINISTRATOR, by=call.actor)
