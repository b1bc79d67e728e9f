"""Text that somebody else wrote, made safe to show.

Names, key comments, environment variables and log values may hold bytes that a terminal obeys. They are kept
as they came and escaped when they are rendered.
"""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls (CVE-2021-42574)
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff]"  # lone surrogates, which no stream could encode
)


def escape_controls(text: str) -> str:
    r"""Return `text` with every control, bidi control and lone surrogate written as `\xNN` or `\uNNNN`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def escape_lines(text: str) -> str:
    r"""As `escape_controls`, but for newlines and tabs; CRLF becomes `\n`."""
    return "".join(
        character if character in "\n\t" else escape_controls(character)
        for character in text.replace("\r\n", "\n")
    )
