"""One honest file and a random number generator -> a file that somebody damaged, or made to harm."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_NAMES = (
    "../../escape",
    "/etc/passwd",
    "a/../../b",
    "C:\\x",
    "..\\x",
    "",
    "\x1b[31mred",
    "<script>",
    "x" * 5000,
    "a\0b",
    "ü.npy",
)
_TEXTS = ("NaN", "Infinity", "-1", "1e400", "9" * 400, "null", "true", "[]", "{}", '""', '"\\u001b[31m"', '"\\ud800"')


def mutate(content: bytes, name: str, rng: np.random.Generator) -> bytes:
    """One to three damages, of those that fit the kind of file."""
    mutations: list[Mutation] = [flip, flip, overwrite, extreme, cut, repeat, insert]
    if content.startswith(b"PK"):
        mutations += [entries, entries, lying_sizes, compressed_bomb]
    if name.endswith(".safetensors"):
        mutations += [header, header]
    if name.endswith((".toml", ".jsonl", ".txt")):
        mutations = [text, text, nest, flip, cut, repeat, insert]
    if name.endswith(".mat"):
        mutations += [inside_mat, inside_mat]
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        content = mutations[int(rng.integers(len(mutations)))](content, rng)
    return content


def place(content: bytes, rng: np.random.Generator) -> int:
    """Anywhere; half of the time near the beginning or the end, where the structure is."""
    length = max(len(content), 1)
    if rng.random() < 0.5:
        near = int(rng.integers(min(length, 2048)))
        return near if rng.random() < 0.6 else length - 1 - near
    return int(rng.integers(length))


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 4, 32]))):
        if damaged:
            damaged[place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    start, length = place(content, rng), int(rng.choice([1, 4, 16, 200]))
    value = rng.bytes(length) if rng.random() < 0.5 else bytes([int(rng.choice([0, 255, 91, 40]))]) * length
    return content[:start] + value + content[start + length :]


def extreme(content: bytes, rng: np.random.Generator) -> bytes:
    """A number, as of a size, is replaced by one that is too large."""
    start, width = place(content, rng) // 4 * 4, int(rng.choice([2, 4, 8]))
    value = int(_EXTREMES[int(rng.integers(len(_EXTREMES)))]) % (1 << 8 * width)
    return content[:start] + value.to_bytes(width, "big" if rng.random() < 0.2 else "little") + content[start + width :]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: place(content, rng)]


def repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, length, to = place(content, rng), int(rng.integers(1, 512)), place(content, rng)
    return content[:to] + content[start : start + length] + content[to:]


def insert(content: bytes, rng: np.random.Generator) -> bytes:
    start = place(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 64))) + content[start:]


def text(content: bytes, rng: np.random.Generator) -> bytes:
    """A word or a number becomes something else."""
    words = list(re.finditer(rb'"[^"]*"|[\w.+-]+|[\[\]{}:,=#]', content))
    if not words:
        return content
    word = words[int(rng.integers(len(words)))]
    return content[: word.start()] + _TEXTS[int(rng.integers(len(_TEXTS)))].encode() + content[word.end() :]


def nest(content: bytes, rng: np.random.Generator) -> bytes:
    depth = int(rng.choice([10, 1000, 100_000]))
    opening = (b"[", b'{"a":', b"x = [", b"a.")[int(rng.integers(4))]
    return content + opening * depth + (b"]" * depth if rng.random() < 0.5 else b"") + b"\n"


def entries(content: bytes, rng: np.random.Generator) -> bytes:
    """The archive packed again: entries renamed, doubled, linked, compressed in other ways, or with other headers inside."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # damaged before
        return content
    which = int(rng.integers(len(parts))) if parts else 0
    buffer = io.BytesIO()
    action = int(rng.integers(6))
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, data) in enumerate(parts):
            info = zipfile.ZipInfo(name)
            if number == which:
                if action == 0:
                    info.filename = _NAMES[int(rng.integers(len(_NAMES)))]
                elif action == 1:
                    info.compress_type = methods[int(rng.integers(4))]
                elif action == 2:
                    info.external_attr = 0o120777 << 16  # a symbolic link
                    data = b"/etc/passwd"
                elif action == 3:
                    data = npy_header(data, rng)
                elif action == 4:
                    continue
                else:
                    data = not_numbers(data, rng)
            archive.writestr(info, data)
        if rng.random() < 0.3:
            archive.writestr(zipfile.ZipInfo(_NAMES[int(rng.integers(len(_NAMES)))] + ".npy"), parts[0][1] if parts else b"")
    return buffer.getvalue()


def npy_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Another header before the numbers."""
    if not data.startswith(b"\x93NUMPY") or len(data) < 10:
        return data
    length = struct.unpack("<H", data[8:10])[0]
    old = data[10 : 10 + length].decode("latin-1").rstrip()
    new = (
        old.replace("(", "((((((", 1),
        old.replace("'shape': (", f"'shape': ({1 << 40}, "),
        old.replace("'descr': '", "'descr': '|O"),
        old.replace("'fortran_order': False", "'fortran_order': True"),
        old.replace("'shape'", "'shop'"),
        old + "[" * 3000,
        "-" * 5000,
        "{}",
        old.replace("<f4", "V999999999"),
        old.replace("(", "(-1, ", 1),
    )[int(rng.integers(10))]
    return data[:8] + struct.pack("<H", len(new) + 1) + new.encode("latin-1") + b"\n" + data[10 + length :]


def not_numbers(data: bytes, rng: np.random.Generator) -> bytes:
    """The last bytes are float32 that are NaN."""
    count = int(rng.integers(1, 8))
    return data[: max(0, len(data) - 4 * count)] + struct.pack("<f", float("nan")) * count


def lying_sizes(content: bytes, rng: np.random.Generator) -> bytes:
    """A size in the directory at the archive's end."""
    starts = [found.start() for found in re.finditer(re.escape(b"PK\x01\x02"), content)]
    if not starts:
        return content
    start = starts[int(rng.integers(len(starts)))] + int(rng.choice([10, 20, 24, 28, 30, 42]))
    value = int(_EXTREMES[int(rng.integers(8))]) & 0xFFFFFFFF
    return content[:start] + value.to_bytes(4, "little") + content[start + 4 :]


def compressed_bomb(content: bytes, rng: np.random.Generator) -> bytes:
    """One more entry, of zeros: 16 MiB in 16 KiB."""
    buffer = io.BytesIO(content)
    try:
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("parameters/more.npy", bytes(16 << 20))
    except Exception:  # damaged before
        return content
    return buffer.getvalue()


def header(content: bytes, rng: np.random.Generator) -> bytes:
    """The JSON at the beginning of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    try:
        facts = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):  # damaged before
        return content
    if not isinstance(facts, dict) or not facts:
        return content
    keys = list(facts)
    key = keys[int(rng.integers(len(keys)))]
    values = (
        None,
        [],
        "text",
        1,
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"a": {"b": 1}},
        {"epcore_format": 5},
    )
    facts[key if rng.random() < 0.5 else "__metadata__"] = values[int(rng.integers(len(values)))]
    new = json.dumps(facts).encode()
    if rng.random() < 0.1:
        new = b"[" * 5000
    return len(new).to_bytes(8, "little") + new + content[8 + length :]


def inside_mat(content: bytes, rng: np.random.Generator) -> bytes:
    """The first compressed element, damaged inside and compressed again."""
    if len(content) < 144 or content[128:132] != b"\x0f\0\0\0":
        return extreme(content, rng)
    length = int.from_bytes(content[132:136], "little")
    try:
        inner = zlib.decompress(content[136 : 136 + length])
    except zlib.error:
        return content
    inner = (flip, extreme, overwrite, cut)[int(rng.integers(4))](inner, rng)
    packed = zlib.compress(inner)
    return content[:132] + len(packed).to_bytes(4, "little") + packed + content[136 + length :]
