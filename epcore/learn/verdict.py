"""What a check says: what is wrong and where, and figures that are no matter of right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from epcore.exercise.sandbox import Failure


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. file: in the student's folder. line: None where it is not known."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.message}"

    @classmethod
    def failed(cls, file: str, failure: Failure, what: str = "") -> Finding:
        """Code that gave no value. what: was called, for the message ("forward, case stride 2")."""
        return cls(file, failure.line, f"{what}: {failure.text}" if what else failure.text)


@dataclass(frozen=True)
class Verdict:
    """Of one exercise. findings: none where all is right. notes: lines about what was checked and measured. printed: what the
    student's code printed."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    printed: str = ""

    @property
    def passed(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        findings = [{"file": each.file, "line": each.line, "message": each.message} for each in self.findings]
        return {"passed": self.passed, "findings": findings, "notes": list(self.notes), "printed": self.printed}
