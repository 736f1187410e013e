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

from epcore.base.files import write_atomically


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
        """All events; what is none is left out: a last line cut off by a killed process, or damaged ones. Raises OSError."""
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no log {self.path}: is {self.path.parent} the folder of a run?")
        events = []
        for line in self.path.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str) and _is_number(event.get("step", 0)):
                events.append(event)
        return events

    def rewind(self, step: int) -> None:
        """Forget what came after a step: a resumed run makes those steps again."""
        if self.path.is_file():
            kept = [event for event in self.read() if event.get("step", 0) <= step and event["event"] != "end"]
            write_atomically(self.path, "".join(json.dumps(event) + "\n" for event in kept))
