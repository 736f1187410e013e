"""Files that made epcore fail once, as small as they can be made: every one is tried by the ordinary tests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import h5py
import numpy as np

from campaign.seeds import archive, seeds


@dataclass(frozen=True)
class Recipe:
    """kind: as in `seeds`. name: of the file. make: its content. refused: what the error says; "" where it is none.
    through: "library" or "command"."""

    kind: str
    name: str
    make: Callable[[], bytes]
    refused: str
    through: str = "library"


def flipped(kind: str, name: str, place: int, bit: int) -> bytes:
    content = bytearray(seeds()[kind][name])
    content[place] ^= 1 << bit
    return bytes(content)


def npy(header: str, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + values


def array(values: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()


def more_entries(kind: str, name: str, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO(seeds()[kind][name])
    with zipfile.ZipFile(buffer, "a", method) as file:
        for entry, content in entries.items():
            file.writestr(entry, content)
    return buffer.getvalue()


def mat_of_cells() -> bytes:
    """The header, and a compressed cell array of 2^29 cells, none of which is there: under 200 bytes."""
    flags = struct.pack("<IIII", 6, 8, 1, 0)
    cells = flags + struct.pack("<IIii", 5, 8, 1, 1 << 29) + struct.pack("<II", 1, 7) + b"RELEASE\0"
    packed = zlib.compress(struct.pack("<II", 14, len(cells)) + cells)
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed


def mat_of_zeros() -> bytes:
    """A compressed matrix of 4 GB of zeros, as its declared length says, in a kilobyte."""
    packed = zlib.compress(struct.pack("<II", 14, 0xFFFFFFF0) + bytes(1 << 19))
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed


def picture_elsewhere() -> bytes:
    """An annotation file whose picture is called "..", of the same length as "ab" would be."""
    return seeds()["mpii"]["plain.mat"].replace(b"picture.jpg", b"../../x.jpg")


def safetensors(metadata: object) -> bytes:
    header = json.dumps({"__metadata__": metadata, "a/b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def scalar_dataset() -> bytes:
    """Beside the layers, one number without axes."""
    buffer = io.BytesIO(seeds()["weights"]["keras2.h5"])
    with h5py.File(buffer, "r+") as file:
        file["optimizer/iterations"] = np.int64(7)
    return buffer.getvalue()


def lines(*events: object) -> bytes:
    return seeds()["log"]["log.jsonl"] + "".join(json.dumps(event) + "\n" for event in events).encode()


def vectors(manifest: object) -> bytes:
    return archive({"epcore.npy": array(json.dumps(manifest)), "layers/a.npy": array(np.zeros(3, np.float32))})


MARKED = {"epcore_format": "epcore vectors 1"}
STEP = {"event": "step", "step": 4, "epoch": 1, "loss": 1.0, "rate": 1.0, "sigma": 1.0}
OPEN = "{'descr': '<f4', 'fortran_order': False, 'shape': (((((1,), }"

RECIPES: dict[str, Recipe] = {
    **{
        f"flipped bit of a .mat, {place}": Recipe("mpii", "a.mat", partial(flipped, "mpii", "plain.mat", place, bit), "damaged")
        for place, bit in ((9297, 7), (692, 1), (3977, 1))
    },
    "cells that are not there": Recipe("mpii", "a.mat", mat_of_cells, "memory|readable"),
    "zeros in a .mat": Recipe("mpii", "a.mat", mat_of_zeros, "declares 4294967280 bytes"),
    "picture elsewhere": Recipe("mpii", "a.mat", picture_elsewhere, "without a folder"),
    "open bracket in a header": Recipe("tensor", "x.npy", lambda: npy(OPEN, bytes(4)), "damaged"),
    "open bracket in an entry": Recipe("vectors", "v.npz", lambda: archive({"a.npy": npy(OPEN, bytes(4))}), "damaged"),
    "numbers without end": Recipe("tensor", "x.npy", lambda: npy(OPEN.replace("(((((1,)", f"({1 << 50},)")), "declares"),
    "manifest that is a list": Recipe("vectors", "v.npz", lambda: vectors([1]), "expected a JSON object"),
    "own weights' manifest": Recipe("weights", "w.npz", lambda: vectors("x"), "expected a JSON object"),
    "metadata null": Recipe("weights", "w.safetensors", lambda: safetensors(None), "damaged"),
    "metadata of numbers": Recipe("weights", "w.safetensors", lambda: safetensors({"epcore_format": 1}), "damaged"),
    "LZMA": Recipe(
        "vectors", "v.npz", lambda: archive({"a.npy": array([1.0])}, zipfile.ZIP_LZMA), "neither Keras nor NumPy writes"
    ),
    "LZMA in weights": Recipe(
        "weights", "w.keras", lambda: archive({"model.weights.h5": b"x" * 99}, zipfile.ZIP_LZMA), "neither Keras nor NumPy"
    ),
    "checkpoint with one more array": Recipe(
        "checkpoint",
        "c.npz",
        lambda: more_entries("checkpoint", "checkpoint.npz", {"parameters/more.npy": bytes(1 << 26)}, zipfile.ZIP_DEFLATED),
        "would unpack to",
    ),
    "checkpoint with an unknown array": Recipe(
        "checkpoint",
        "c.npz",
        lambda: more_entries("checkpoint", "checkpoint.npz", {"else/a.npy": array(np.zeros(1, np.float32))}),
        "which no checkpoint does",
    ),
    "checkpoint whose state is a list": Recipe(
        "checkpoint", "c.npz", lambda: archive({"state.npy": array(np.frombuffer(b"[]", np.uint8))}), "another version"
    ),
    "dimensionless array": Recipe("weights", "w.h5", scalar_dataset, ""),
    "dimensionless array, listed": Recipe("weights", "w.h5", scalar_dataset, "", "command"),
    "log without event": Recipe("log", "log.jsonl", lambda: lines({"step": 9}), "line 6 is no event"),
    "log that is nested": Recipe("log", "log.jsonl", lambda: lines() + b"[" * 100_000 + b"\n", "line 6 is no event"),
    "log that is no text": Recipe("log", "log.jsonl", lambda: lines() + b"\xb3\xff\n", "line 6 is no event"),
    "loss that is a text": Recipe("log", "log.jsonl", lambda: lines(STEP | {"loss": "\x1b[31m"}), "expected a numb", "command"),
    "log whose step is a text": Recipe("log", "log.jsonl", lambda: lines(STEP | {"step": "x"}), "line 6 is no event"),
    "log that is a list": Recipe("log", "log.jsonl", lambda: lines([]), "line 6 is no event"),
    "log whose last line was cut off": Recipe("log", "log.jsonl", lambda: lines() + b"[" * 100_000, ""),
    "log with a huge number": Recipe("log", "log.jsonl", lambda: lines(STEP | {"rate": 10**400}), "expected a numb", "command"),
    "vectors of no network": Recipe("vectors", "v.npz", lambda: vectors(MARKED), "is damaged", "command"),
    "vectors of no kind": Recipe("vectors", "v.npz", lambda: vectors(MARKED | {"kind": []}), "is damaged", "command"),
    "configuration of another type": Recipe("config", "c.toml", lambda: b"split_seed = ''", "expected int"),
    "configuration of dots": Recipe("config", "c.toml", lambda: b"a." * 100_000 + b"a = 1", "32768 at most"),
    "configuration that is nested": Recipe("config", "c.toml", lambda: b"a = " + b"[" * 30_000, "c.toml"),
}
