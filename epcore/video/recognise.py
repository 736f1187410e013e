"""Whether a file is a film: by how it begins, or, where that says nothing, by its ending."""

from __future__ import annotations

from pathlib import Path

ENDINGS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv", ".3gp",
    ".ogv", ".mxf",
)  # fmt: skip
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")  # of the container that MP4 is, too
_MOVING_BRANDS = (b"hevc", b"hevx", b"msf1", b"avis")  # animations, which Pillow opens
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def is_film(path: str) -> bool:
    """A file that is not there is judged by its ending."""
    try:
        with open(path, "rb") as file:
            head = file.read(189)
    except OSError:
        head = b""
    told = _told(head)
    return Path(path).suffix.lower() in ENDINGS if told is None else told


def _told(head: bytes) -> bool | None:
    """None where the beginning is of nothing that is known here."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURE_BRANDS + _MOVING_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    if head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"0&\xb2u\x8ef\xcf\x11")):
        return True
    if head[4:8] in (b"moov", b"mdat", b"wide") or (len(head) == 189 and head[0] == head[188] == 0x47):
        return True
    return False if head.startswith(_PICTURES) else None
