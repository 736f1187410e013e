"""The process that checks run in: a task a line on standard input, an answer a line where standard output was.

Kernels that are wrong for a processor may end their process (an illegal instruction, a segmentation fault) or never return; the
doctor, which has to tell, therefore lives in another.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        answers.write(json.dumps(answer(*json.loads(line))) + "\n")
        answers.flush()


def answer(kind: str, *details: str) -> dict[str, Any]:
    """ok and value, or ok False and a message; seconds."""
    started = perf_counter()
    try:
        result: dict[str, Any] = {"ok": True, "value": _do(kind, *details)}
    except Exception as error:  # whatever a check raises is that check's failure
        from epcore.doctor.check import WrongError

        message = " ".join(str(error).split())
        known = isinstance(error, WrongError)
        result = {"ok": False, "value": message if known else f"{type(error).__name__}: {message}".removesuffix(": ")}
    return result | {"seconds": round(perf_counter() - started, 2)}


def _do(kind: str, *details: str) -> Any:
    if kind == "compiled":
        from epcore.doctor.machine import compiled

        return compiled()
    if kind == "part":
        from epcore.doctor.parts import look

        return look(*details)
    from epcore.doctor.check import run_check

    return run_check(*details)
