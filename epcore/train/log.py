"""The log of a run: one JSON object a line, each written at once and whole.

{"event": "start" | "resume", ...}      configuration, versions
{"event": "step", "step": 10, "epoch": 0.02, "loss": .., "parts": {..}, "rate": .., "sigma": .., "gradient_norm": ..,
 "pictures_per_second": .., "waiting": ..}          waiting: share of the time spent waiting for data
{"event": "validation", "step": .., "epoch": .., "pckh50": .., "pckh10": .., "groups50": {..}, "seconds": ..}
{"event": "end" | "interrupted", ...}
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from epcore.base.staging import write_atomically


class RunLog:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, event: str, **values: Any) -> None:
        """Append one line. Raises OSError naming the path."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, **values}) + "\n")
        except OSError as error:
            raise OSError(error.errno, f"cannot write {self.path}: {error.strerror}") from None

    def read(self) -> list[dict[str, Any]]:
        """All lines; a last one cut off by a killed process is left out.

        Raises FileNotFoundError, ValueError naming the file and the first line that is no event.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no log {self.path}: is {self.path.parent} the folder of a run?")
        text = self.path.read_bytes()
        return [self._event(number, line) for number, line in enumerate(text.split(b"\n")[:-1], start=1)]

    def _event(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str) or not _is_step(event.get("step", 0)):
            raise ValueError(f'{self.path}: line {number} is no event, expected {{"event": "step", "step": 10, ...}}')
        return event

    def rewind(self, step: int) -> None:
        """Forget what came after a step: a resumed run makes those steps again. Raises ValueError as `read`."""
        if self.path.is_file():
            kept = [event for event in self.read() if event.get("step", 0) <= step and event["event"] != "end"]
            write_atomically(self.path, "".join(json.dumps(event) + "\n" for event in kept))


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
