"""What of the settings takes effect while the server runs, and what only at its next start.

Every setting is in exactly one of the two tables below; a test walks through all of them, so that a new one
is not forgotten. What stays as it was at the start: where the server listens, what it keeps its rows and runs
its containers with, and what other servers on the same database count on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from rootblood.settings import Settings

_Group = TypeVar("_Group", bound=BaseModel)

WHOLE = "*"
"""In place of names: all of a group, whatever it has."""

NEEDS_RESTART: Mapping[str, str] = {
    "": "state_dir keys_dir",
    "database": WHOLE,
    "ssh": "host port",
    "web": "host port public_url keepalive_s body_timeout_s",
    "engine": WHOLE,
    "environment": "icc",
    "passwords": "max_concurrent max_queue",
    "accounts": WHOLE,
    "metrics": WHOLE,
    "server": "reuse_port",
    "leases": WHOLE,
}
"""By group, names of settings that count from the next start on."""

RELOADABLE: Mapping[str, str] = {
    "ssh": (
        "banner_file motd_file login_grace_s max_auth_tries keepalive_interval_s keepalive_count_max "
        "rekey_bytes rekey_s rekey_timeout_s recheck_s max_sessions max_forwards resize_interval_s max_env "
        "max_env_bytes forwarding_of hangup_grace_s"
    ),
    "ssh.forwarding": "local remote streamlocal agent destinations",
    "web": "tls_cert_file tls_key_file trusted_proxies session_idle_s session_max_s",
    "environment": "image hostname read_only_root cap_drop no_new_privileges seccomp_profile init nofile",
    "limits": "memory_mib cpus pids tmp_mib run_mib",
    "link": "open_timeout_s session_timeout_s idle_grace_s max_calls call_timeout_s",
    "passwords": "memory_kib time_cost parallelism max_bytes min_chars refusal_s",
    "penalties": "free_failures first_s max_s forget_s max_sources max_waiting exempt",
    "exports": (
        "gzip_level zstd_level max_bytes max_s max_concurrent max_of_account spool_expiry_s "
        "spool_sweep_interval_s spool_max_bytes spool_max_of_account spool_min_free_bytes"
    ),
    "imports": "max_bytes max_unpacked_bytes max_of_account max_concurrent max_s",
    "backups": "key_file min_free_bytes",
    "audit": "retention_days max_rows_of_account prune_interval_s",
    "reaper": (
        "interval_s idle_stop_s max_unattended_s idle_remove_s warning_s cpu_threshold network_threshold "
        "tmux_jobs max_keep_s"
    ),
    "crash_loop": "ends within_s first_wait_s max_wait_s",
    "server": "drain_s",
    "log": "level format",
}
"""By group, names of settings that count from a SIGHUP on, or that no server uses but commands alone."""

_TLS_FILES = frozenset({"web.tls_cert_file", "web.tls_key_file"})


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs."""

    name: str
    """With its groups: `reaper.idle_stop_s`."""

    old: object
    new: object
    """Both as JSON has them, secrets as asterisks."""

    needs_restart: bool


def needs_restart(name: str) -> bool:
    """Whether a setting, by its name with its groups, counts from the next start on.

    Raises:
        LookupError: it is in neither table, or in both.
    """
    group, _, field = name.rpartition(".")
    found = [table is NEEDS_RESTART for table in (NEEDS_RESTART, RELOADABLE) if _names(table, group, field)]
    if len(found) != 1:
        raise LookupError(f"{name} is in {len(found)} of the two tables")
    return found[0]


def changes(old: Settings, new: Settings) -> list[Change]:
    """Where two settings differ, in the order of the settings."""
    return [
        Change(name, to_jsonable_python(before), to_jsonable_python(after), _stays(name, before, after))
        for (name, before), (_, after) in zip(settings_of(old), settings_of(new), strict=True)
        if before != after
    ]


def settings_of(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """All single settings of a group, and of the groups in it: their names and values."""
    for field in type(group).model_fields:
        value = getattr(group, field)
        if isinstance(value, BaseModel):
            yield from settings_of(value, f"{prefix}{field}.")
        else:
            yield prefix + field, value


def applied(old: _Group, new: _Group, prefix: str = "") -> _Group:
    """What counts from now on: the new settings, with the old ones where a change needs a restart.

    No rule of the settings is about one of each kind together, so that these keep all rules, as both do.
    """
    kept: dict[str, object] = {}
    for field in type(new).model_fields:
        name, before, after = prefix + field, getattr(old, field), getattr(new, field)
        if isinstance(after, BaseModel):
            kept[field] = applied(before, after, f"{name}.")
        elif _stays(name, before, after):
            kept[field] = before
    return new.model_copy(update=kept)


def _stays(name: str, before: object, after: object) -> bool:
    # A door that listens with TLS goes on to, and one without goes on without.
    switched = name in _TLS_FILES and (before is None) != (after is None)
    return switched or needs_restart(name)


def _names(table: Mapping[str, str], group: str, field: str) -> bool:
    names = table.get(group, "")
    return names == WHOLE or field in names.split()
