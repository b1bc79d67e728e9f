"""The mark of a restore that is under way: as long as it is there, nothing is served from half of one."""

from pathlib import Path

from rootblood.errors import ConfigurationError

MARK = "restoring"


def require_restored(state_dir: Path) -> None:
    """Raise `ConfigurationError` where a restore is under way, or was cut off."""
    if (state_dir / MARK).exists():
        raise ConfigurationError(
            "a restore is under way, or was cut off: wait for it, or run rootblood restore again"
        )
