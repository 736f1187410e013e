"""What the library has to say without an error. `warnings` shows it; the command line prints it as one line."""

from __future__ import annotations


class Notice(UserWarning):
    """Base of all warnings of epcore."""
