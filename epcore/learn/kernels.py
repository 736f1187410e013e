"""Exercises about CUDA kernels: their files come with the checker."""

from __future__ import annotations

from typing import Any

from epcore.learn.cuda.exercises import EXERCISES


def completed(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exercises with name, hints and read, in the order given -> with everything."""
    return [
        {
            "write": f"the kernel `{EXERCISES[each['name']].kernel}`, whose parameters the file declares",
            "file": f"cuda/{each['name']}.cu",
            "starter": EXERCISES[each["name"]].starter(),
            **each,
        }
        for each in given
    ]
