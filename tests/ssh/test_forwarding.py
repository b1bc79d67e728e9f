"""Where forwarded streams may go, decided without asking a resolver."""

import pytest

from rootblood.settings import ForwardingSettings, SSHSettings
from rootblood.ssh.forwarding import forwarding_settings, is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


NOT_LOOPBACK = [
    "",
    "0.0.0.1",
    "::",
    "172.17.0.1",
    "169.254.169.254",
    "localhost.",
    "localhost.example.org",
    "127.1",
    "2130706433",
    "0x7f000001",
    "127.0.0.1 ",
    "localhost\n",
    "fe80::1",
    "[::1]",
]


@pytest.mark.parametrize("host", NOT_LOOPBACK)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_an_account_s_own_settings_replace_the_common_ones() -> None:
    own = ForwardingSettings(local=False)
    settings = SSHSettings(forwarding_of={"alice": own})

    assert own == forwarding_settings(settings, "alice")
    assert settings.forwarding == forwarding_settings(settings, "bob")
