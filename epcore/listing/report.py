"""What `epcore kernel` says: where an operator or a step of a plan is written, how it is compiled here, its inner loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epcore.backend import has_kernel, kernel_module
from epcore.inference.steps import kinds
from epcore.kernels.cpu.processor import PROCESSOR, choices
from epcore.kernels.cuda.loader import Source
from epcore.listing import PLAN, WRITTEN
from epcore.listing.assembly import Function
from epcore.listing.compiled import BACKWARD, Compiled, operator_run, shown_path, step_kernels
from epcore.ops import OPS


@dataclass(frozen=True)
class Place:
    """Functions of one file, each with its line."""

    backend: str
    file: str
    functions: dict[str, int]


@dataclass(frozen=True)
class KernelReport:
    """name: of the operator or step. places: where it is written. example: what was run; kernels: compiled functions that took
    part; choices: what they are compiled with, by processor.CHOICES."""

    name: str
    places: list[Place]
    example: str
    kernels: list[Compiled]
    choices: dict[str, int | str]

    def functions(self, *, backward: bool = False) -> list[tuple[Compiled, Function]]:
        """Machine code of the kernels of the forward pass (or of the gradient), that with the most work first. Compiles them.

        Raises ValueError where there is none.
        """
        kernels = [kernel for kernel in self.kernels if (kernel.use == BACKWARD) is backward]
        found = [(kernel, each) for kernel in kernels for each in kernel.functions]
        if not found:
            raise ValueError(
                f"{self.name} has no machine code to show: no function that Numba compiles for it has vectors in a loop"
            )
        return sorted(found, key=lambda pair: pair[1].hottest.weight, reverse=True)

    def as_json(self) -> dict[str, Any]:
        """For `--json`, without machine code."""
        return {
            "name": self.name,
            "places": [vars(place) for place in self.places],
            "example": self.example,
            "kernels": [{"use": k.use, "name": k.name, "file": k.file, "line": k.line} for k in self.kernels],
            "compiled_for": {"triple": PROCESSOR.triple, "cpu": PROCESSOR.cpu},
            "choices": self.choices,
        }


def names() -> tuple[list[str], list[str]]:
    """(operators, kinds of steps of plans): what there is a report of."""
    return list(OPS), [kind.name for kind in kinds()]


def report(name: str, *, backend: str | None = None, example: int = 0) -> KernelReport:
    """Of an operator, by its name, or of a step of the plans: "band", or "plan.add" where an operator has that name too.

    backend: the only one to look at; kernels are run and watched where it is "cpu" or None. Raises ValueError for an unknown
    name, backend or example, and for a backend that has no kernel of it; RuntimeError where NUMBA_DISABLE_JIT is set.
    """
    operators, steps = names()
    step = name.removeprefix(f"{PLAN}.")
    if backend not in (None, *WRITTEN):
        raise ValueError(f"unknown backend {backend!r}: expected one of {', '.join(WRITTEN)}")
    if name in operators:
        places = [_place(name, each) for each in WRITTEN if backend == each or (backend is None and has_kernel(name, each))]
        if backend in (None, "cuda") and has_kernel(name, "cuda"):
            places += _cuda_sources(name)
        if backend in (None, "cpu") and has_kernel(name, "cpu"):
            run = operator_run(name, example)
            return KernelReport(name, places, run.example, run.kernels, choices())
        return KernelReport(name, places, "", [], {})
    if step in steps:
        if backend not in (None, "cpu"):
            raise ValueError(f"the step {step} is of the CPU's plans: it has no kernel on backend {backend!r}")
        (kernel,) = step_kernels(step)
        place = Place("cpu", kernel.file, {kernel.dispatcher.py_func.__name__: kernel.line})
        return KernelReport(f"{PLAN}.{step}", [place], "", [kernel], choices())
    raise ValueError(f"unknown kernel {name!r}: expected an operator ({', '.join(operators)}) or a step ({', '.join(steps)})")


def _place(op: str, backend: str) -> Place:
    module = kernel_module(op, backend)
    lines = {each: getattr(module, each).__code__.co_firstlineno for each in ("forward", "backward")}
    return Place(backend, shown_path(str(module.__file__)), lines)


def _cuda_sources(op: str) -> Iterable[Place]:
    """The CUDA files that an operator's launchers name, and their kernels."""
    module = kernel_module(op, "cuda")
    for source in (each for each in vars(module).values() if isinstance(each, Source)):
        path = Path(str(module.__file__)).with_name(f"{source.file}.cu")
        text = path.read_text().splitlines()
        kernels = dict.fromkeys(instance.partition("<")[0] for instance in source.instances("float"))
        yield Place("cuda", shown_path(path), {kernel: _line_of(kernel, text) for kernel in kernels})


def _line_of(kernel: str, lines: list[str]) -> int:
    return next((at for at, line in enumerate(lines, 1) if f"{kernel}(" in line), 0)
