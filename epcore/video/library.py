"""PyAV, which reads and writes films, where it is installed."""

from __future__ import annotations

import sys
from types import ModuleType


def require_av() -> ModuleType:
    """Raises ModuleNotFoundError saying what to install."""
    try:
        import av
    except ModuleNotFoundError:
        raise ModuleNotFoundError("films need PyAV: pip install 'epcore[video]'") from None
    av.logging.set_level(None)  # FFmpeg's own words about damage, which the reader counts and says
    module: ModuleType = av
    return module


def said(error: BaseException) -> str:
    """What FFmpeg says, without its number and its file's name."""
    return str(getattr(error, "strerror", None) or error)


def camera_device(which: str) -> tuple[str, str]:
    """A camera's number, or the system's name for it -> what FFmpeg opens, and with which driver."""
    number = which.isascii() and which.isdecimal()
    if sys.platform == "darwin":
        return which, "avfoundation"
    if sys.platform == "win32":
        return f"video={which}", "dshow"  # which knows cameras by name only
    return (f"/dev/video{int(which)}" if number else which), "v4l2"
