"""All groups together, each under the name that it has in the file and in the process environment."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from rootblood.settings.accounts import AccountSettings, AuditSettings, PasswordSettings, PenaltySettings
from rootblood.settings.archives import BackupSettings, ExportSettings, ImportSettings
from rootblood.settings.doors import SSHSettings, WebSettings
from rootblood.settings.environments import EngineSettings, EnvironmentSettings, LimitsSettings, LinkSettings
from rootblood.settings.lifetimes import CrashLoopSettings, LeaseSettings, ReaperSettings, ReconcileSettings
from rootblood.settings.server import DatabaseSettings, LogSettings, MetricsSettings, ServerSettings


class Settings(BaseSettings):
    """All groups together."""

    model_config = SettingsConfigDict(
        env_prefix="ROOTBLOOD_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    state_dir: Path = Path("state")
    """The database and what else must survive a restart."""

    keys_dir: Path = Path("keys")
    """Host key of the SSH door and the keys of the link, 0600."""

    database: DatabaseSettings = DatabaseSettings()
    ssh: SSHSettings = SSHSettings()
    web: WebSettings = WebSettings()
    engine: EngineSettings = EngineSettings()
    environment: EnvironmentSettings = EnvironmentSettings()
    limits: LimitsSettings = LimitsSettings()
    link: LinkSettings = LinkSettings()
    passwords: PasswordSettings = PasswordSettings()
    penalties: PenaltySettings = PenaltySettings()
    accounts: AccountSettings = AccountSettings()
    exports: ExportSettings = ExportSettings()
    imports: ImportSettings = ImportSettings()
    backups: BackupSettings = BackupSettings()
    metrics: MetricsSettings = MetricsSettings()
    audit: AuditSettings = AuditSettings()
    leases: LeaseSettings = LeaseSettings()
    reaper: ReaperSettings = ReaperSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    crash_loop: CrashLoopSettings = CrashLoopSettings()
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
