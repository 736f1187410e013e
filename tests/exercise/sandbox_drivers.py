"""What `test_sandbox` has called in the student's process."""

from __future__ import annotations

from types import ModuleType


def make(module: ModuleType, name: str) -> object:
    return module.Thing().value()
