"""What an installation may choose: typed, frozen groups, passed in, never global.

Sources, the later winning: the defaults of the groups, `rootblood.toml` (or the file that `ROOTBLOOD_CONFIG`
or `--config` names), then the process environment as `ROOTBLOOD_<GROUP>__<FIELD>`, for example
`ROOTBLOOD_SSH__PORT=2200`. An unknown key is an error: a misspelt limit must not pass for a limit.

A server reads them at its start, and again at SIGHUP; `rootblood.changes` says which of them count then.

The groups, by module:

- `doors`: ssh, ssh.forwarding, web
- `accounts`: accounts, passwords, penalties, audit
- `environments`: engine, environment, limits, link
- `lifetimes`: reaper, crash_loop, leases, reconcile
- `archives`: exports, imports, backups
- `server`: database, server, log, metrics

`installation` puts them together, and `loading` reads them. Others import the names from here.
"""

from rootblood.settings.accounts import AccountSettings, AuditSettings, PasswordSettings, PenaltySettings
from rootblood.settings.archives import BackupSettings, ExportSettings, ImportSettings
from rootblood.settings.doors import ForwardingSettings, SSHSettings, WebSettings
from rootblood.settings.environments import EngineSettings, EnvironmentSettings, LimitsSettings, LinkSettings
from rootblood.settings.installation import Settings
from rootblood.settings.lifetimes import CrashLoopSettings, LeaseSettings, ReaperSettings, ReconcileSettings
from rootblood.settings.loading import load_settings, settings_file
from rootblood.settings.server import (
    DatabaseSettings,
    LogSettings,
    MetricsSettings,
    ServerSettings,
    has_password,
)

__all__ = [
    "AccountSettings",
    "AuditSettings",
    "BackupSettings",
    "CrashLoopSettings",
    "DatabaseSettings",
    "EngineSettings",
    "EnvironmentSettings",
    "ExportSettings",
    "ForwardingSettings",
    "ImportSettings",
    "LeaseSettings",
    "LimitsSettings",
    "LinkSettings",
    "LogSettings",
    "MetricsSettings",
    "PasswordSettings",
    "PenaltySettings",
    "ReaperSettings",
    "ReconcileSettings",
    "SSHSettings",
    "ServerSettings",
    "Settings",
    "WebSettings",
    "has_password",
    "load_settings",
    "settings_file",
]
