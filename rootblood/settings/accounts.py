"""Accounts: their numbers, their passwords and what a wrong one costs, and the trail of what was done."""

import os
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import Field, model_validator

from rootblood.settings.group import Group, Seconds


class AccountSettings(Group):
    """Numbers given to accounts."""

    uid_min: Annotated[int, Field(ge=1000)] = 20000
    uid_max: Annotated[int, Field(le=2**31 - 1)] = 59999
    """UIDs are given once, in order, and never again, so the range bounds the accounts there can ever be."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.uid_min > self.uid_max:
            raise ValueError("accounts.uid_min is above accounts.uid_max")
        return self


class PasswordSettings(Group):
    """argon2id parameters and the limits around them (OWASP's second recommendation, about 29 ms)."""

    memory_kib: Annotated[int, Field(ge=8)] = 19456
    time_cost: Annotated[int, Field(ge=1)] = 2
    parallelism: Annotated[int, Field(ge=1)] = 1

    max_bytes: Annotated[int, Field(ge=64)] = 1024
    """A longer password is refused unhashed."""

    min_chars: Annotated[int, Field(ge=1)] = 8
    """Shortest password that can be set."""

    refusal_s: Seconds = 0.05
    """A refusal comes so long after the try, or a multiple of it: what checking took does not show."""

    max_concurrent: Annotated[int, Field(ge=1)] = Field(default_factory=lambda: os.cpu_count() or 1)
    """Hashes computed at one time; never more than cores by default."""

    max_queue: Annotated[int, Field(ge=1)] = 64
    """Hashes waiting for their turn; one more is refused at once."""


class PenaltySettings(Group):
    """What wrong passwords cost the address they come from, at both doors together."""

    free_failures: Annotated[int, Field(ge=0)] = 10
    """So many cost nothing."""

    first_s: Seconds = 5.0
    """For how long no password from there is looked at after one more; each further one doubles it."""

    max_s: Seconds = 600.0
    """No penalty is longer."""

    forget_s: Seconds = 3600.0
    """After so long without a wrong password, what was before is forgotten."""

    max_sources: Annotated[int, Field(ge=1)] = 65536
    """Sources remembered at one time, about 300 bytes each."""

    max_waiting: Annotated[int, Field(ge=0)] = 64
    """Logins of one source at the HTTP door that wait while another one of it is checked; one more is refused
    at once."""

    exempt: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    """Networks that are never penalised. Loopback is this machine, or a proxy all of whose clients would pay
    for one."""


class AuditSettings(Group):
    """The trail of what was done to each account."""

    retention_days: Annotated[int, Field(ge=1, le=36500)] = 180
    """What is older is deleted: half a year."""

    max_rows_of_account: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Of each account, the oldest go first; about 200 bytes each."""

    prune_interval_s: Seconds = 3600.0
    """How often what is too old is looked for."""
