"""What was noticed, in the words of the student's file: kind, line, message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epcore.learn.cuda.program import BLOCKS, Launch, Run, lines_of

UNKNOWN, SHARED, OWN = -1, -2, -3  # as shadow.h numbers what is no buffer


@dataclass(frozen=True)
class Finding:
    """kind: one of those in docs/learn-cuda.md; line: in `file`, or None; advice: slow, not wrong; case: in which it showed."""

    kind: str
    file: str
    line: int | None
    message: str
    case: str = ""
    advice: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.kind}: {self.message}"


@dataclass(frozen=True)
class Scene:
    """What is needed to say what a run noticed. names: of the launch's arrays; file: the name lines are given for."""

    program: Path
    launch: Launch
    names: Sequence[str]
    file: str
    case: str


def line_table(program: Path, addresses: Sequence[int], file: str) -> dict[int, int]:
    """Address -> line of `file`; addresses of others are left out."""
    table = {}
    for address, places in lines_of(program, sorted(set(addresses))).items():
        line = next((number for name, number in places if name == file), None)
        if line is not None:
            table[address] = line
    return table


def translate(run: Run, scene: Scene) -> list[Finding]:
    """Every mistake of one run, once a line."""
    addresses = [finding[side]["pc"] for finding in run.findings for side in ("access", "other")] + [
        run.end["pc"],
        run.end["last"],
    ]
    table = line_table(scene.program, [address for address in addresses if address], scene.file)
    races: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for finding in run.findings:
        (races if finding["finding"].startswith("race") else others).append(finding)
    raced = {table.get(finding[side]["pc"]) for finding in races for side in ("access", "other")}
    found = list(_races(races, table, scene).values())
    loop = [finding for finding in others if finding["finding"] == "endless"]
    loop.sort(key=lambda finding: table.get(finding["access"]["pc"], 0) or len(table))
    for finding in [finding for finding in others if finding["finding"] != "endless"] + loop[:1]:
        line = table.get(finding["access"]["pc"])
        if finding["finding"] == "uninitialised" and line in raced:
            continue  # the order of threads is why
        kind = _KINDS.get(finding["finding"], finding["finding"])
        found.append(Finding(kind, scene.file, line, _message(finding, scene), scene.case))
    return merge(found + _end(run.end, table, scene, found))


def merge(findings: Sequence[Finding]) -> list[Finding]:
    """The first of those that differ in message or case only."""
    first: dict[tuple[str, int | None], Finding] = {}
    for finding in findings:
        first.setdefault((finding.kind, finding.line), finding)
    return list(first.values())


def thread(access: dict[str, Any], launch: Launch) -> str:
    x, y, _ = (*launch.block, 1, 1)[:3]
    across, down, _ = (*launch.grid, 1, 1)[:3]
    t, b = access["thread"], access["block"]
    return f"thread ({t % x},{t // x % y},{t // (x * y)}) of block ({b % across},{b // across % down},{b // (across * down)})"


def _arrays(launch: Launch) -> list[np.ndarray]:
    return [argument for argument in launch.arguments if isinstance(argument, np.ndarray)]


def element(finding: dict[str, Any], scene: Scene) -> str:
    """The place in memory, as an element of its array."""
    if finding["space"] == UNKNOWN:
        return "an address that belongs to no array"
    if finding["space"] == OWN:
        return "memory of its own"
    if finding["space"] == SHARED:
        return f"element {finding['offset'] // finding['bytes']} of {finding['name']}"
    array, name = _arrays(scene.launch)[finding["space"]], scene.names[finding["space"]]
    return f"{name}[{finding['offset'] // array.itemsize}]"


_KINDS = {"index": "out of bounds", "endless": "endless loop"}


def _message(finding: dict[str, Any], scene: Scene) -> str:
    access = finding["access"]
    who, what = thread(access, scene.launch), element(finding, scene)
    verb = "writes" if access["write"] else "reads"
    match finding["finding"]:
        case "out of bounds":
            size = ""
            if finding["space"] >= 0:
                size = f"; {scene.names[finding['space']]} has elements 0 to {_arrays(scene.launch)[finding['space']].size - 1}"
            return f"{who} {verb} {what}{size}"
        case "index":
            return f"{who} uses index {finding['offset']}, past the end of a local or shared array"
        case "misaligned":
            n = finding["bytes"]
            return f"{who} {verb} {n} bytes at once at {what}, which does not start at a multiple of {n} bytes"
        case "uninitialised":
            return f"{who} reads {what}, which nobody has written"
        case "write to an input":
            return f"{who} writes {what}: the inputs stay as they are"
        case "shared memory":
            return "the shared arrays of a block take more than the 48 KiB there are"
        case _:
            return f"{who} is in this loop still after {BLOCKS:,} steps, or all threads together after {20 * BLOCKS:,}"


def _races(races: Sequence[dict[str, Any]], table: dict[int, int], scene: Scene) -> dict[tuple[Any, ...], Finding]:
    """By pair of lines. Two writes, or an element that many update, are a race; a write and a read elsewhere lack a barrier."""
    pairs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for race in races:
        lines = sorted({table.get(race[side]["pc"], 0) for side in ("access", "other")})
        pairs.setdefault((race["finding"], *lines), []).append(race)
    both_write = {key[1] for key, found in pairs.items() if len(key) == 2 and any(_writes(race) == 2 for race in found)}
    result = {}
    for key, found in pairs.items():
        race = min(found, key=lambda race: -_writes(race))
        now, before = race["access"], race["other"]
        first, second = (
            f"{thread(access, scene.launch)} {'writes' if access['write'] else 'reads'} {what}{_at(access, table)}"
            for access, what in zip(sorted((before, now), key=_reads), (element(race, scene), "it"), strict=True)
        )
        kind = key[0]
        if kind == "race between blocks":
            text = f"{first}, {second}; blocks run in any order, and nothing waits for another block"
        elif _writes(race) == 2:
            text = f"{first}, {second}, with no __syncthreads() between: what is left is chance"
        elif len(key) == 2 and key[1] in both_write:
            continue  # said already
        else:
            kind = "missing barrier"
            text = f"{first}, {second}, with no __syncthreads() between the two"
        result[key] = Finding(kind, scene.file, key[-1] or None, text, scene.case)
    return result


def _reads(access: dict[str, Any]) -> bool:
    return not access["write"]


def _writes(race: dict[str, Any]) -> int:
    return int(race["access"]["write"]) + int(race["other"]["write"])


def _at(access: dict[str, Any], table: dict[int, int]) -> str:
    return f" at line {table[access['pc']]}" if access["pc"] in table else ""


def _end(end: dict[str, Any], table: dict[int, int], scene: Scene, found: Sequence[Finding]) -> list[Finding]:
    """Why a run ended before its end, where that is not a finding already."""
    text, line = end["end"], table.get(end["pc"]) or table.get(end["last"])
    if not text or text.endswith(": stopped"):
        return []
    text = re.sub(r"^block \S+: ", "", text)
    if text == "time":
        return [Finding("endless loop", scene.file, line, "the kernel was stopped: it ran out of time", scene.case)]
    if text == "division":
        return [Finding("division by zero", scene.file, line, "an integer is divided by zero", scene.case)]
    if text in ("memory", "ended"):
        if found:
            return []
        return [
            Finding(
                "crash",
                scene.file,
                line,
                "the program was ended: too deep a recursion, or memory that is not its own",
                scene.case,
            )
        ]
    named = re.search(r"line (\d+)", text)
    return [Finding("barrier not reached by all", scene.file, int(named[1]) if named else line, text, scene.case)]
