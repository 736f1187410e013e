"""Text for terminals: names from files say what they are and command nothing."""

from __future__ import annotations

import re

# Control characters but the end of a line and the tabulator; marks that turn the direction of text; separators of lines;
# halves of characters, as file names of other encodings have.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with escapes (`\\x1b`) in place of all that moves the cursor, colours, or rearranges what is shown."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
