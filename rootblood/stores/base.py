"""The ports between the services and what is kept: rows in a database, and tarballs on a disk.

Every method on rows is one transaction. A database that does not answer, or stays locked, raises
`StoreUnavailableError`; rows that cannot be (a name taken, a key there twice) raise `ConflictError`. A method
that changes an account raises `NotFoundError` when there is none of that userhash, or only its tombstone.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rootblood.domain.accounts import Account, AccountState, Login
from rootblood.domain.audit import Event, NewEvent
from rootblood.domain.backups import Part
from rootblood.domain.bans import Ban
from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import RestartReason, StopReason
from rootblood.domain.exports import Export, Progress
from rootblood.domain.keys import AccountKey, PublicKey
from rootblood.domain.leases import Idleness, Known, Lease, NewLease
from rootblood.domain.logins import LoginLink, LoginSession
from rootblood.domain.networks import Network
from rootblood.domain.tokens import ApiToken


class AccountStore(Protocol):
    """Accounts and their keys."""

    async def add(
        self, *, name: str, userhash: str, admin: bool, password_hash: str | None, keys: Sequence[PublicKey]
    ) -> Account:
        """Add an account with the next UID of the range, and its first keys, or nothing at all.

        Raises:
            ConflictError: the name is or was in use, or a key is given twice.
            LimitReachedError: the range of UIDs is used up.
        """

    async def by_name(self, name: str) -> Account | None:
        """The account of that name, unless it is deleted."""

    async def by_key(self, name: str, blob: bytes) -> Account | None:
        """The account of that name if this public key (RFC 4253 wire form) is one of its own.

        One query, and the same work for no such account as for no such key: nobody can tell them apart.
        """

    async def set_state(self, userhash: str, state: AccountState) -> None:
        """Lock or unlock; either way the account's login sessions are gone."""

    async def delete(self, userhash: str) -> None:
        """Leave a tombstone: the row itself, so that name and UID stay taken.

        All rows about the account, in whatever table, are gone, and so is what its row says of the person.
        """

    async def set_password_hash(self, userhash: str, password_hash: str | None) -> None:
        """Replace the password hash; None means that no password is accepted. Ends all login sessions."""

    async def refresh_password_hash(self, userhash: str, *, old: str, new: str) -> bool:
        """Replace `old` by `new`, a hash of the same password; False when `old` is there no longer."""

    async def mark_published(self, userhashes: Sequence[str]) -> None:
        """Note that the environments know these accounts' names."""

    async def keys(self, userhash: str) -> Sequence[AccountKey]:
        """The account's keys, oldest first; none when there is no such account."""

    async def add_key(self, userhash: str, key: PublicKey) -> AccountKey:
        """Add a key. Raises `ConflictError` when the account has it already."""

    async def delete_key(self, userhash: str, fingerprint: str) -> bool:
        """Delete the key with that SHA256 fingerprint; False when there is none."""

    async def list(
        self, *, include_deleted: bool = False, after: str | None = None, limit: int | None = None
    ) -> list[Account]:
        """Accounts by name: all, or at most `limit` of those whose name comes after `after`."""


class AccountLocks(Protocol):
    """One lock an account, among all servers of the installation; a server that dies lets go of its own."""

    def hold(self, userhash: str) -> AbstractAsyncContextManager[None]:
        """Hold the account's lock for the length of a block. A task that holds it must not ask for it again.

        Raises:
            EnvironmentFailedError: another server has held it for longer than one can wait.
            StoreUnavailableError: whether one does could not be found out.
        """

    async def close(self) -> None:
        """Let go of all."""


class LoginStore(Protocol):
    """Login sessions, found by the hash of their token.

    `AccountStore` ends them in the very transaction that locks, unlocks or deletes an account, or changes its
    password.
    """

    async def add(self, account: Account, login: LoginSession, token_hash: bytes) -> None:
        """Add a login session of an account that has just shown who it is.

        Raises:
            NotFoundError: the account may not log in any more, or has another password than `account` says.
        """

    async def find(self, token_hash: bytes) -> tuple[Account, LoginSession] | None:
        """The login session of that token, and its account, if that may log in."""

    async def touch(self, login_id: str, at: datetime) -> None:
        """Note that a login session was used; nothing happens where there is none any more."""

    async def list(self, userhash: str) -> Sequence[LoginSession]:
        """The account's login sessions, expired ones too, those used last first."""

    async def delete(self, userhash: str, login_id: str) -> bool:
        """End one login session of the account; False when it has none of that id."""

    async def delete_all(self, userhash: str) -> int:
        """End all login sessions of the account; returns how many."""

    async def delete_expired(self, *, created_before: datetime, used_before: datetime) -> None:
        """Forget the login sessions, of whatever account, that are older or were used last before that."""


class LinkStore(Protocol):
    """One-time links that log in, found by the hash of their secret.

    What ends all login sessions of an account, in `AccountStore` or `LoginStore`, ends its links with them.
    """

    async def add(self, link: LoginLink, secret_hash: bytes, *, now: datetime, expires_at: datetime) -> None:
        """Add a link, and forget those that have expired. Raises as `LoginStore.add`."""

    async def find(self, secret_hash: bytes, *, now: datetime) -> LoginLink | None:
        """The link, if it is good and the account may log in; it stays good."""

    async def take(self, secret_hash: bytes, *, now: datetime) -> LoginLink | None:
        """As `find`, and the link is good no more: of many that take it at once, one gets it."""


class TokenStore(Protocol):
    """API tokens, found by the hash of their secret. `AccountStore.delete` deletes them too."""

    async def add(self, userhash: str, token: ApiToken, token_hash: bytes, *, at_most: int) -> None:
        """Add a token, and forget those of the account that have expired.

        Raises:
            NotFoundError: the account may not log in.
            LimitReachedError: it has `at_most` already.
        """

    async def find(self, token_hash: bytes) -> tuple[Account, ApiToken] | None:
        """The token of that hash, expired or not, and its account, if that may log in."""

    async def list(self, userhash: str, *, valid_at: datetime) -> Sequence[ApiToken]:
        """The account's tokens that expire after that, the newest first."""

    async def delete(self, userhash: str, token_id: str) -> bool:
        """Delete one token of the account; False when it has none of that id."""


class BanStore(Protocol):
    """Networks from which nobody may come in."""

    async def add(self, ban: Ban, *, forget_expired_before: datetime, at_most: int) -> None:
        """Add a ban in place of another one on the same network, and forget those that expired before that.

        Raises:
            LimitReachedError: there are `at_most` already.
        """

    async def delete(self, network: Network) -> bool:
        """Delete the ban on exactly that network; False when there is none."""

    async def list(self) -> Sequence[Ban]:
        """All bans, expired ones too, the newest first."""


class VisitStore(Protocol):
    """What is remembered of an account between its visits."""

    async def record_login(self, userhash: str, login: Login) -> Login | None:
        """Remember this login as the last one, and return the one before it; None at the first."""

    async def last_login(self, userhash: str) -> Login | None:
        """The login that was recorded last, if any."""

    async def replace_stop(self, userhash: str, reason: StopReason | None) -> StopReason | None:
        """Remember why RootBlood is about to stop the environment, and return what was remembered before.

        That can be put back where there was nothing to stop.
        """

    async def stop_reason(self, userhash: str) -> StopReason | None:
        """Why RootBlood stops the environment, or has stopped it; None where it does not."""

    async def record_restart(self, userhash: str, reason: RestartReason) -> None:
        """Remember that the environment was started again, and why, until somebody has been told.

        A stop that RootBlood itself asked for is the reason in place of what the engine saw of it, unless
        the container is another one because of a change. It counts once.
        """

    async def restart(self, userhash: str) -> RestartReason | None:
        """Why the environment was last started again, if nobody has been told yet."""

    async def last_end(self, userhash: str) -> RestartReason | None:
        """Why the environment does not run, as far as RootBlood stopped it, or was last started again.

        Unlike `restart`, whoever has been told.
        """

    async def forget_restart(self, userhash: str, reason: RestartReason) -> None:
        """Somebody was told of this; another reason that came up meanwhile stays."""


class LeaseStore(Protocol):
    """Who uses which environment. All times are of the database's own clock, whichever server asks."""

    async def open(self, lease: NewLease, *, server: str, ttl_s: float, even_if_stopping: bool) -> bool:
        """Begin a use; False, and nothing is kept, while the environment is being stopped.

        Args:
            lease: what begins.
            server: that renews it.
            ttl_s: for how long it holds without that.
            even_if_stopping: keep it all the same.
        """

    async def renew(self, leases: Sequence[NewLease], *, server: str, ttl_s: float) -> Sequence[str]:
        """Let all of a server's leases hold for `ttl_s` from now; those that are gone are made anew.

        Returns:
            IDs of leases of this server that are not among `leases`: uses that have ended since.
        """

    async def close(self, lease_ids: Sequence[str]) -> None:
        """End uses: their environments begin to be idle. Those that are not there do not matter."""

    async def keep(self, lease: NewLease, for_s: float) -> Lease:
        """Begin a use that nobody renews, in place of another such one of the account's."""

    async def end_keep(self, userhash: str) -> bool:
        """End it; False when there is none that holds."""

    async def by_server(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """All leases that a process renews, lapsed or not, by that process: ID and userhash of each."""

    async def known(self, userhash: str) -> Known:
        """What there is of the account's environment. Raises `NotFoundError`."""


class IdlenessStore(Protocol):
    """What the reaper remembers, and its decisions. Times are those of `LeaseStore`."""

    async def take_turn(self, name: str, *, server: str, for_s: float) -> bool:
        """Take or keep the turn to do what one server at a time does; False while it is another's."""

    async def known(self, userhash: str) -> Known:
        """As `LeaseStore.known`."""

    async def remember(self, userhash: str, idleness: Idleness, *, before: datetime | None) -> bool:
        """Keep what a look gave.

        Args:
            userhash: whose environment.
            idleness: what to keep.
            before: `looked_at` as it was when the look began, None where there was none. Where that is
                another by now, somebody used the environment: False, and nothing is kept.
        """

    async def begin_stop(self, userhash: str, *, looked_at: datetime | None, for_s: float) -> bool:
        """Decide that the environment is stopped now; whoever wants to use it waits, for `for_s` at most.

        False when somebody has used it since `looked_at`, None where nothing is remembered, or has a lease of
        it, lapsed or not.
        """

    async def end_stop(self, userhash: str, *, done: bool) -> None:
        """Nobody need wait any more; and once that is `done`, nothing is remembered of the environment."""


class AuditStore(Protocol):
    """What was done to each account. Of a deleted one nothing is kept but that, until it is too old."""

    async def add(self, events: Sequence[NewEvent], *, keep: int) -> None:
        """Add events, in their order, and keep only the newest `keep` of each account they are about.

        A failed login is counted in the row of the same account and minute, where there is one. Of an account
        that is deleted only that event is taken.
        """

    async def list(self, account_uid: int, *, limit: int, before: int | None) -> Sequence[Event]:
        """The account's events, the newest first: `limit` at most, of ids below `before` alone."""

    async def delete_before(self, at: datetime) -> None:
        """Delete what is older, of all accounts."""


class GrowingExport(Protocol):
    """A tarball that is being written. All of it blocks."""

    def write(self, data: bytes) -> None:
        """Add to it. Raises `LimitReachedError` when there is no room, `StoreUnavailableError`."""

    def finish(self, progress: Progress, warnings: Complaints) -> Export:
        """Let it be fetched."""

    def fail(self, cause: str) -> Export:
        """Delete what there is of it, and remember why."""


class ExportStore(Protocol):
    """Tarballs on this server's disk. All of it but `bound` blocks: call it in a thread."""

    def bound(self, *, max_bytes: int, min_free_bytes: int) -> None:
        """Let all tarballs together grow no further than that, and leave so much free on the disk."""

    def recover(self, living: Collection[str]) -> None:
        """Clean up what servers left behind that are not among the `living`; once, before anything else."""

    def begin(self, export: Export) -> GrowingExport:
        """Begin a tarball. Raises as `GrowingExport.write`."""

    def list(self, userhash: str) -> Sequence[Export]:
        """The account's exports, the newest first."""

    def find(self, userhash: str, export_id: str) -> Export | None:
        """The account's export of that id, which may be any text."""

    def path(self, export: Export) -> Path:
        """Where the tarball is, once it is ready."""

    def delete(self, export: Export) -> bool:
        """Delete an export that is not being written; False when it was not there."""

    def delete_all(self, userhash: str) -> None:
        """Delete all exports of an account, of which none is being written."""

    def delete_expired(self, now: datetime) -> None:
        """Delete the exports of all accounts that have expired. Raises `StoreUnavailableError`."""


class DatabaseCopies(Protocol):
    """Copies of the database in a file of their own."""

    file_name: str
    """What a copy is called in a backup: another kind of database, another name."""

    async def exists(self) -> bool:
        """Whether there is a database that a copy would be put in the place of."""

    async def save(self, file: Path) -> None:
        """Copy the database to a new file, as it is at one moment; it may be in use meanwhile.

        Raises:
            ConfigurationError: the program that copies it is missing; the message says what to install.
            StoreUnavailableError: it cannot be read.
        """

    async def check(self, file: Path) -> None:
        """See that a copy is whole and can be used.

        Raises:
            InvalidInputError: it is damaged.
            ConfigurationError: a newer RootBlood has made it.
        """

    async def require_unused(self) -> None:
        """See that nobody has the database open. Raises `ConflictError` where somebody has."""

    async def restore(self, file: Path) -> None:
        """Put a copy in the place of the database. Who was logged in when it was made is not any more."""


class GrowingPart(Protocol):
    """A part of a backup that is being written."""

    reference: str
    """See `Part.reference`; known once the block of `BackupParts.write` has been left."""

    async def write(self, data: bytes) -> None:
        """Add to it. Raises `StoreUnavailableError` when it cannot be taken, for want of space most often."""


class BackupParts(Protocol):
    """Where the bytes of backups are kept."""

    compressed: bool
    """Whether archives are to come compressed. What finds what it has already does so in plain ones only."""

    async def prepare(self) -> None:
        """Make what is missing, ahead of a backup.

        Raises:
            ConfigurationError: the program that keeps it is missing, or its key.
            StoreUnavailableError: it does not work.
        """

    def write(self, backup_id: str, name: str) -> AbstractAsyncContextManager[GrowingPart]:
        """A part to write in the block; kept if the block is left without an error.

        Raises:
            StoreUnavailableError: at the end of the block, too: it is not kept.
        """

    def read(self, backup_id: str, part: Part) -> AsyncIterator[bytes]:
        """The bytes of a part.

        Raises:
            StoreUnavailableError: it is not there, or not whole.
        """
