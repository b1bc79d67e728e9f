"""What is shown unasked: the operator's texts, made safe, and the lines of a login."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood.domain.accounts import Login
from rootblood.domain.environments import RestartReason
from rootblood.errors import ConfigurationError
from rootblood.services.visits import News
from rootblood.settings import SSHSettings
from rootblood.ssh.greeting import MAX_TEXT_BYTES, Texts, greeting_variables, read_texts

LOGIN = Login(datetime(2026, 11, 3, 18, 4, 5, tzinfo=UTC), "203.0.113.7")
SHELL_LEVEL = {b"SHLVL": b"1"}


def test_no_file_is_no_text() -> None:
    assert Texts(banner=None, motd=None) == read_texts(SSHSettings())


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"no end", "no end\n"),
        (b"\ttab\r\nCRLF\r\n\n", "\ttab\nCRLF\n\n"),
        ("\u00fcber \u4eba\n".encode(), "\u00fcber \u4eba\n"),
        (b"\x1b[2J\x07\0\r\x7f\n", "\\x1b[2J\\x07\\x00\\r\\x7f\n"),
        ("\x9b31m\u202e\u2066\n".encode(), "\\x9b31m\\u202e\\u2066\n"),
        (b"latin \xe9\n", "latin \\xe9\n"),
    ],
)
def test_a_text_is_made_safe(tmp_path: Path, content: bytes, shown: str) -> None:
    (tmp_path / "text").write_bytes(content)
    texts = read_texts(SSHSettings(banner_file=tmp_path / "text", motd_file=tmp_path / "text"))

    assert shown == texts.motd
    assert (shown.replace("\n", "\r\n") or None) == texts.banner


@pytest.mark.parametrize("setting", ["banner_file", "motd_file"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        (b"x" * MAX_TEXT_BYTES, "too large"),  # with the end of its line
        (b"\x1b" * (MAX_TEXT_BYTES // 4), "too large"),  # as it is shown
    ],
)
def test_a_text_that_cannot_be_shown_is_refused(
    tmp_path: Path, setting: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)

    with pytest.raises(ConfigurationError, match=rf"ssh\.{setting}: .*{reason}") as caught:
        read_texts(SSHSettings(**{setting: tmp_path / "text"}))

    assert 1 == len(str(caught.value).splitlines())


def test_the_largest_text_is_taken(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"x" * (MAX_TEXT_BYTES - 1) + b"\n")

    assert MAX_TEXT_BYTES == len(read_texts(SSHSettings(motd_file=tmp_path / "text")).motd or "")


def test_a_special_file_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(ConfigurationError, match="too large"):
        read_texts(SSHSettings(motd_file=Path("/dev/zero")))


def test_with_nothing_to_tell_the_image_shows_its_own() -> None:
    assert SHELL_LEVEL == greeting_variables(None, News())


def test_an_empty_text_is_handed_over_all_the_same() -> None:
    assert {**SHELL_LEVEL, b"ROOTBLOOD_MOTD": b""} == greeting_variables("", News())


def test_the_last_login_is_told_as_openssh_does() -> None:
    variables = greeting_variables("Hello\n", News(last_login=LOGIN))

    assert {
        **SHELL_LEVEL,
        b"ROOTBLOOD_MOTD": b"Hello\n",
        b"ROOTBLOOD_NOTICE": b"Last login: Tue Nov  3 18:04:05 2026 UTC from 203.0.113.7",
    } == variables


def test_an_address_is_made_safe() -> None:
    news = News(last_login=Login(LOGIN.at, "fe80::1%\x1b[2J\n"))

    assert greeting_variables(None, news)[b"ROOTBLOOD_NOTICE"].endswith(b"from fe80::1%\\x1b[2J\\n")


@pytest.mark.parametrize("reason", RestartReason)
def test_every_reason_is_one_line_after_the_last_login(reason: RestartReason) -> None:
    notice = greeting_variables(None, News(LOGIN, reason))[b"ROOTBLOOD_NOTICE"].decode()

    first, second = notice.split("\n")
    assert first.startswith("Last login: ")
    assert second.startswith("rootblood: your environment was ")
