"""Moves environments from one image to another, and back.

An image that was built is nobody's yet. It is tried first, in an environment that is thrown away; one that
cannot be entered changes nothing. Once it is accepted, whatever starts is made of it, so that each
environment moves at its next idle moment: when the reaper, its owner or anybody else has stopped it, and it
is wanted again. What runs is only touched when that is asked for, a few at a time, and no further ones are
begun once one has failed. Homes are volumes of their own; nothing here comes near them.

One upgrade or rollback of an installation is under way at a time, whoever began it, and on which machine.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.environments import Environment, EnvironmentState, Identity, StopReason
from rootblood.domain.images import Image, Images
from rootblood.domain.upgrades import ImageUse, Outcome
from rootblood.engines.base import STOP_GRACE_S, Engine
from rootblood.errors import (
    ConflictError,
    EnvironmentFailedError,
    ImageMissingError,
    NotFoundError,
    RootBloodError,
)
from rootblood.link.keys import LinkKeys
from rootblood.link.link import open_link
from rootblood.link.trial import try_session
from rootblood.services.backups import Tell
from rootblood.services.environments import Environments
from rootblood.services.notices import Notices
from rootblood.settings import LinkSettings
from rootblood.stores.base import AccountLocks, AccountStore

_LOCK = b"image".hex().ljust(32, "0")
"""Held for the length of an upgrade or a rollback. Locks are of userhashes, and this is no account's."""

_MAX_CONCURRENT = 4
"""Environments that are stopped and started at one time."""

_NOTICE_S = 1.0
"""Between the word to a terminal and the end of what it shows."""

_NOTICE = "rootblood: this environment moves to another image now, and is back in a moment; log in again"

_RUNNING = {EnvironmentState.RUNNING, EnvironmentState.PAUSED}


class Upgrades:
    """The images of this installation's environments.

    Args:
        engine: has them.
        environments: made of them.
        store: knows whose those are.
        notices: told before something is stopped.
        locks: keep upgrades apart.
        keys: of the link.
        settings: of the link.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        environments: Environments,
        store: AccountStore,
        notices: Notices,
        locks: AccountLocks,
        keys: LinkKeys,
        settings: LinkSettings,
    ) -> None:
        self._engine = engine
        self._environments = environments
        self._store = store
        self._notices = notices
        self._locks = locks
        self._keys = keys
        self._settings = settings

    def apply(self, settings: LinkSettings) -> None:
        """Go by these settings from the next trial on."""
        self._settings = settings

    async def images(self) -> tuple[Images, list[ImageUse]]:
        """The images of this installation, and what was made of each: the current one, and so on.

        Raises:
            EngineUnavailableError, StoreUnavailableError: nobody can tell.
        """
        images = await self._engine.images()
        names = {one.userhash: one.name for one in await self._store.list(include_deleted=True)}
        made: dict[str, list[tuple[str, Environment]]] = {}
        known = {
            image.id: image for image in (images.current, images.previous, images.newest) if image is not None
        }
        for image_id in known:
            made[image_id] = []
        for one in await self._engine.list():
            made.setdefault(one.image_id, []).append((names.get(one.userhash, one.userhash), one))
        return images, [
            ImageUse(image_id, known.get(image_id), sorted(uses, key=lambda use: use[0]))
            for image_id, uses in made.items()
        ]

    async def upgrade(self, *, now: bool, tell: Tell, by: Actor = OPERATOR) -> Outcome:
        """Accept the image that was built last, after a trial.

        Args:
            now: whether environments that run on another are stopped and started, instead of being left
                until they are next started.
            tell: told of what takes time.
            by: who asks, for the trails of accounts whose environments are restarted.

        Raises:
            ImageMissingError: nothing has the name of the settings.
            EnvironmentFailedError: the trial failed; nothing was changed.
            ConflictError: there is no account to try it as, or another upgrade or rollback is under way.
            EngineUnavailableError, StoreUnavailableError: nothing was changed, or with `now` not all.
        """
        async with self._alone():
            images = await self._engine.images()
            if images.newest is None:
                raise ImageMissingError(f"there is no image {images.name}; build it with 'make image'")
            return await self._go_to(images.newest, images, now=now, tell=tell, by=by)

    async def rollback(self, *, now: bool, tell: Tell, by: Actor = OPERATOR) -> Outcome:
        """Go back to the image before the current one. Arguments as `upgrade`.

        Raises:
            NotFoundError: there is none.
            RootBloodError: as `upgrade`.
        """
        async with self._alone():
            images = await self._engine.images()
            if images.previous is None:
                raise NotFoundError(
                    "there is no image to go back to: no other was in use before, or it is gone"
                )
            return await self._go_to(images.previous, images, now=now, tell=tell, by=by)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        # Not waited for: a rollback after a rollback would go forward again.
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._locks.hold(_LOCK, patience_s=0))
            except EnvironmentFailedError as error:
                raise ConflictError(
                    "another upgrade or rollback is under way; run this again once it has ended"
                ) from error
            yield

    async def _go_to(self, image: Image, images: Images, *, now: bool, tell: Tell, by: Actor) -> Outcome:
        is_new = image != images.current
        if is_new:
            tell(f"trying image {image.short_id}")
            await self._try(image)
            await self._engine.accept_image(image.id)
        moving = _Moving(image, tell)
        behind = await self._behind(image)
        if now:
            turns = asyncio.Semaphore(_MAX_CONCURRENT)
            async with asyncio.TaskGroup() as tasks:
                for account in behind:
                    tasks.create_task(self._move(account, moving, turns, by))
            behind = [account for account in behind if account.name not in moving.begun]
        return Outcome(
            image=image,
            accepted=is_new,
            moved=sorted(moving.moved),
            failed=sorted(moving.failed),
            waiting=[account.name for account in behind],
        )

    async def _try(self, image: Image) -> None:
        """See whether an environment of that image can be entered, in one that is thrown away."""
        accounts = await self._store.list()
        if not accounts:
            raise ConflictError("there is no account to try an image as; add one first: rootblood user add")
        known = [account for account in accounts if account.published]
        if not known:  # only then, as it takes the current image, which may be what is to be got rid of
            await self._environments.shared.prepare()
        identity = Identity.of((known or accounts)[0])
        try:
            async with self._engine.trial(identity, image.id) as environment:
                link = await open_link(
                    self._engine, environment, identity, keys=self._keys, settings=self._settings
                )
                try:
                    await try_session(link, timeout_s=self._settings.open_timeout_s)
                finally:
                    await link.close()
        except EnvironmentFailedError as error:
            raise EnvironmentFailedError(
                f"image {image.short_id} does not work, so nothing was changed: {error}"
            ) from error

    async def _behind(self, image: Image) -> list[Account]:
        """Whose environments run on another image, by name."""
        running = {
            one.userhash
            for one in await self._engine.list()
            if one.state in _RUNNING and one.image_id != image.id
        }
        return [account for account in await self._store.list() if account.userhash in running]

    async def _move(self, account: Account, moving: "_Moving", turns: asyncio.Semaphore, by: Actor) -> None:
        async with turns:
            if moving.failed:
                return
            moving.begun.add(account.name)
            try:
                await self._notices.tell(account, _NOTICE)
                await asyncio.sleep(_NOTICE_S)
                await self._environments.restart(
                    account,
                    StopReason.ADMINISTRATOR,
                    grace_s=STOP_GRACE_S,
                    detail=f"of image {moving.image.short_id}",
                    by=by,
                )
            except RootBloodError as error:
                moving.failed.append((account.name, str(error)))
            else:
                moving.moved.append(account.name)
                moving.tell(f"{account.name}: moved")


class _Moving:
    """How far a move of several environments has come."""

    def __init__(self, image: Image, tell: Tell) -> None:
        self.image = image
        self.tell = tell
        self.begun: set[str] = set()
        self.moved: list[str] = []
        self.failed: list[tuple[str, str]] = []
