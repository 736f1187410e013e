"""Readers for the process of `epcore.base.guarded` that do what damaged files make real ones do."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import numpy as np


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def whole(path: str) -> dict[str, Any]:
    """Every kind of value there is."""
    numbers = np.frombuffer(content(path), np.uint8)
    return {
        "numbers": numbers,
        "kinds": [np.arange(6, dtype=f">{kind}").reshape(2, 3) for kind in ("f2", "f4", "f8", "i2", "i8", "u4")],
        "none": np.zeros((0, 4), np.float32),
        "scalar": np.array(True),
        "objects": np.array([[{"x": 1.5}, None], ["text", np.float32(2)]], object),
        "texts": np.array(["a", "bc"]),
        "rest": [1, -1.5, float("nan"), None, True, "\x1b[31m\udcff", (1, 2)],
        "process": os.getpid(),
    }


def crash(path: str) -> None:
    ctypes.string_at(0)


def abort(path: str) -> None:
    os.abort()


def leave(path: str) -> None:
    os._exit(3)


def leave_quietly(path: str) -> None:
    os._exit(0)


def hang(path: str) -> None:
    while True:
        pass


def hang_in_c(path: str) -> None:
    """Neither signals' handlers nor other threads of Python run meanwhile."""
    ctypes.PyDLL(None).sleep(1000)


def fill(path: str) -> int:
    held = []
    while True:
        held.append(np.ones(1 << 22))


def much(path: str) -> int:
    return np.ones(32 << 20, np.uint8).nbytes


def much_of(path: str) -> np.ndarray:
    return np.ones(100_000, np.uint8)


def hand_on_much(path: str) -> np.ndarray:
    return np.broadcast_to(np.zeros(1, np.float32), (1 << 34,))


def recurse(path: str) -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def no_value(path: str) -> object:
    return object()


def complex_numbers(path: str) -> np.ndarray:
    return np.zeros(3, complex)


def ignore_the_timer(path: str) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(1000)


def raises_key_error(path: str) -> None:
    raise KeyError("x")


def raises_value_error(path: str) -> None:
    raise ValueError("the header is wrong")


def raises_named(path: str) -> None:
    raise ValueError(f"{path}: the header is wrong")


def raises_os_error(path: str) -> None:
    raise OSError("unable to open it")


def raises_exit(path: str) -> None:
    raise SystemExit(5)
