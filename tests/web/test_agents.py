"""What people call a browser."""

import pytest

from rootblood.web.agents import browser_name

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (f"{MAC} {WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on macOS"),
        (f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", "Safari on macOS"),
        (
            f"Mozilla/5.0 (Linux; Android 16; K) {WEBKIT} Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0) CriOS/140.0 Mobile Safari/604.1", "Chrome on iPhone"),
        ("Firefox/1.0", "Firefox"),
        ("curl/8.5 \x1b[2J", r"curl/8.5 \x1b[2J"),
        ("x" * 100, "x" * 80),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_by_what_it_calls_itself(user_agent: str, name: str) -> None:
    assert name == browser_name(user_agent)
