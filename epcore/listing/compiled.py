"""Which compiled functions run an operator on the CPU, or a kind of step of a plan, and their code as LLVM has it.

What an operator calls depends on its arguments, so it is run once, on one of the doctor's examples, and watched. Numba does not
show the code of functions that it loaded from files, so these are compiled again, with the same options for the same types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
from numba.core.dispatcher import Dispatcher

from epcore.backend import kernel_module
from epcore.doctor.examples import Arrays, examples
from epcore.inference.steps import kinds
from epcore.inference.steps.record import SIGNATURE
from epcore.kernels.cpu.launch import ParallelKernel
from epcore.listing.assembly import Function, functions

ROOT = Path(__file__).parents[2]  # what names of files are relative to
_LAUNCHED = "__gufunc__."
FORWARD, BACKWARD, STEP = "forward", "backward", "step"


@dataclass(frozen=True, eq=False)
class Compiled:
    """A function that Numba compiles. use: forward, backward or step; file: below the folder that holds epcore; signature: the
    argument types it is compiled for."""

    use: str
    name: str
    file: str
    line: int
    dispatcher: Any
    signature: tuple[Any, ...]

    @cached_property
    def _compiled(self) -> Any:
        fresh = numba.jit(**self.dispatcher.targetoptions)(self.dispatcher.py_func)
        fresh.compile(self.signature)
        return fresh

    @cached_property
    def functions(self) -> list[Function]:
        """Its machine code, that of functions it calls included: those that work with vectors in loops, the one with the most
        work first. What only converts Python objects or raises exceptions is none of them."""
        (text,) = self._compiled.inspect_asm().values()
        found = [each for each in functions(text) if not each.symbol.startswith(("_ZN7cpython", "cfunc."))]
        apart = {f"{_LAUNCHED}{each.symbol}" for each in found}  # loops that are called, not written into what Numba launches
        found = [each for each in found if each.symbol not in apart]
        working = [each for each in found if each.hottest.depth and each.hottest.works]
        return sorted(working, key=lambda each: each.hottest.weight, reverse=True)

    def llvm(self, function: Function) -> str:
        """One of these functions as LLVM optimised it, before it chose instructions and registers."""
        (text,) = self._compiled.inspect_llvm().values()
        lines = text.splitlines()
        start = next(at for at, line in enumerate(lines) if _defines(line, function.symbol))
        return "\n".join(lines[start : lines.index("}", start) + 1])


def _defines(line: str, symbol: str) -> bool:
    return line.startswith("define ") and (f"@{symbol}(" in line or f'@"{symbol}"(' in line)


@dataclass(frozen=True)
class Run:
    """An operator's call on an example, and the compiled functions that took part in it."""

    example: str
    kernels: list[Compiled]


def operator_run(op: str, example: int = 0) -> Run:
    """Run an operator's CPU kernels, forward and backward, on one of its examples, and see what was called.

    Raises ValueError for an unknown operator or one without a CPU kernel, for an example that there is not, and RuntimeError
    where NUMBA_DISABLE_JIT is set.
    """
    module = kernel_module(op, "cpu")
    _check_compiler()
    calls = list(examples(op))
    if not 0 <= example < len(calls):
        labels = "; ".join(f"{number}: {label}" for number, (label, *_) in enumerate(calls))
        raise ValueError(f"{op} has no example {example}: {labels}")
    label, arrays, attributes = calls[example]
    found: list[Compiled] = []
    y, saved = _watch(FORWARD, lambda: module.forward(*arrays, **attributes), found)
    _watch(BACKWARD, lambda: module.backward(y, saved, **attributes), found)
    for dispatcher in vars(module).values():  # those for one thread, which no Python code is seen to call
        if isinstance(dispatcher, Dispatcher):
            found += [_compiled(FORWARD, dispatcher, signature) for signature in dispatcher.signatures]
    return Run(f"{label}: {_shown(arrays, attributes)}", found)


def step_kernels(kind: str) -> list[Compiled]:
    """The kernel of one kind of step. Raises ValueError for an unknown one, RuntimeError as above."""
    _check_compiler()
    known = {each.name: each.run for each in kinds()}
    if kind not in known:
        raise ValueError(f"unknown step {kind!r}: expected one of {', '.join(known)}")
    return [_compiled(STEP, known[kind], SIGNATURE.args)]


def _check_compiler() -> None:
    if not isinstance(numba.njit(_check_compiler), Dispatcher):  # it gives the function back
        raise RuntimeError("NUMBA_DISABLE_JIT is set: kernels run as Python, and there is no machine code of them")


def _watch(use: str, action: Callable[[], Any], found: list[Compiled]) -> Any:
    """action(), and the kernels that it launches, each once."""
    launch = ParallelKernel.__call__.__code__

    def look(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code is launch:
            kernel, arguments = frame.f_locals["self"], frame.f_locals["arguments"]
            signature = tuple(map(kernel.parallel.typeof_pyval, arguments))
            if all((each.dispatcher, each.signature) != (kernel.parallel, signature) for each in found):
                found.append(_compiled(use, kernel.parallel, signature))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        return action()
    finally:
        sys.setprofile(before)


def _compiled(use: str, dispatcher: Any, signature: tuple[Any, ...]) -> Compiled:
    function = dispatcher.py_func
    name = f"{function.__module__}.{function.__qualname__.replace('.<locals>', '')}"
    return Compiled(
        use, name, shown_path(function.__code__.co_filename), function.__code__.co_firstlineno, dispatcher, signature
    )


def shown_path(path: str | Path) -> str:
    """A file of epcore from the folder that holds the package on, as "epcore/kernels/cpu/relu.py"."""
    return Path(path).relative_to(ROOT).as_posix() if Path(path).is_relative_to(ROOT) else str(path)


def _shown(arrays: Arrays, attributes: dict[str, Any]) -> str:
    shapes = ["none" if array is None else "x".join(map(str, array.shape)) for array in arrays]
    return ", ".join([*shapes, *(f"{name}={value}" for name, value in attributes.items())])
