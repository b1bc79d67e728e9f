"""Reading the settings: which file, what wins, and one line for whatever is wrong."""

import os
import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from rootblood.errors import ConfigurationError
from rootblood.settings.installation import Settings
from rootblood.settings.server import has_password

DEFAULT_CONFIG_FILE = Path("rootblood.toml")


def settings_file(named: Path | None = None) -> Path:
    """Where the settings of this installation are read from, be there a file or not. Argument as below."""
    return named or Path(os.environ.get("ROOTBLOOD_CONFIG") or DEFAULT_CONFIG_FILE)


def load_settings(config_file: Path | None = None) -> Settings:
    """Read the settings of this installation.

    Args:
        config_file: a TOML file that must exist; None takes `ROOTBLOOD_CONFIG`, or else `rootblood.toml` of
            the working directory where there is one.

    Raises:
        ConfigurationError: the file cannot be read, or a value is not of its kind.
    """
    named = config_file or (
        Path(os.environ["ROOTBLOOD_CONFIG"]) if os.environ.get("ROOTBLOOD_CONFIG") else None
    )
    if named is not None and not named.is_file():
        raise ConfigurationError(f"the settings file {named} does not exist")
    toml_file = named or DEFAULT_CONFIG_FILE

    class _FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file)

    known = {f"ROOTBLOOD_{field.upper()}" for field in Settings.model_fields} | {"ROOTBLOOD_CONFIG"}
    for variable in os.environ:
        if variable.startswith("ROOTBLOOD_") and variable.partition("__")[0].upper() not in known:
            raise ConfigurationError(f"there is no setting {variable}")
    try:
        settings = _FileSettings()
        _require_private(toml_file)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"setting {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {toml_file}: {error}") from error
    return settings


def _require_private(toml_file: Path) -> None:
    """Refuse a settings file that shows a password to others."""
    if toml_file.exists() and toml_file.stat().st_mode & 0o077:
        database = tomllib.loads(toml_file.read_text()).get("database", {})
        if has_password(str(database.get("url", ""))):
            raise ConfigurationError(f"others may read the password in {toml_file}: chmod 600 it")
