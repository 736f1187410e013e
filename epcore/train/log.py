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
        """All lines; a last one cut off by a killed process is left out. Raises FileNotFoundError."""
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no log {self.path}: is {self.path.parent} the folder of a run?")
        events = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return events

    def rewind(self, step: int) -> None:
        """Forget what came after a step: a resumed run makes those steps again."""
        if self.path.is_file():
            kept = [event for event in self.read() if event.get("step", 0) <= step and event["event"] != "end"]
            write_atomically(self.path, "".join(json.dumps(event) + "\n" for event in kept))
