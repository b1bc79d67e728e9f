"""TLS of the HTTP door, from files of the operator's."""

import ssl
import stat
from pathlib import Path

from rootblood.errors import ConfigurationError
from rootblood.settings import WebSettings


def read_tls(settings: WebSettings) -> ssl.SSLContext | None:
    """What the door's TLS needs; None where it has none of its own.

    Raises:
        ConfigurationError: a file cannot be read, others than its owner may use the key, or the two are no
            certificate and its key.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    _require_private(settings.tls_key_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without the empty password a key with a passphrase would have OpenSSL ask for it on the terminal.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{settings.tls_cert_file} and {settings.tls_key_file} are no certificate and its key in PEM"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {settings.tls_cert_file}: {error.strerror}") from error
    return context


def _require_private(file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others than its owner may use the key {file}: chmod 600 it")
