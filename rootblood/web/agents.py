"""What people call a browser, of what it calls itself: a long line, of which most is history."""

import re

from rootblood.domain.text import escape_controls

_MAX_CHARS = 80

_BROWSERS = {
    "Edg|EdgA|EdgiOS": "Edge",
    "OPR": "Opera",
    "Firefox|FxiOS": "Firefox",
    "Chrome|CriOS|HeadlessChrome": "Chrome",
    "Safari": "Safari",
}
"""By the product that says so. The order counts: each of these calls itself the ones below it as well."""

_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "CrOS": "ChromeOS",
    "Macintosh": "macOS",
    "Linux": "Linux",
}


def browser_name(user_agent: str) -> str:
    """Such as `Firefox on Linux`; of a browser that nobody knows, what it calls itself, safe to show."""
    browser = next((name for told, name in _BROWSERS.items() if re.search(rf"\b({told})/", user_agent)), None)
    if browser is None:
        return escape_controls(user_agent[:_MAX_CHARS]) or "Unknown browser"
    system = next((name for told, name in _SYSTEMS.items() if told in user_agent), None)
    return f"{browser} on {system}" if system is not None else browser
