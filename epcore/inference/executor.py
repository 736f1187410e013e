"""Runs a program: every thread walks the same rows, takes tasks, and goes on when all tasks of a row are done.

The kernels of the steps are functions of their own, called by address. So a plan compiles what it has and nothing else, several
of them side by side where the machine has cores for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from epcore.inference.steps import kinds
from epcore.inference.steps.record import SIGNATURE, Kind, fields, record, viewer
from epcore.kernels.cpu.crew import LINE, fetch_add, wait
from epcore.kernels.cpu.jit import released_kernel
from epcore.kernels.cpu.side_by_side import Job, compile_side_by_side
from epcore.kernels.cpu.simd.generation import Values, instruction

_view = viewer(record(*fields()))  # what all records begin with


def addresses(used: Iterable[Kind]) -> np.ndarray:
    """Where the machine code of these kinds is, int64 by number of the kind; 0 for all others. Compiles what is not kept."""
    all_kinds, wanted = kinds(), set(used)
    found = np.zeros(len(all_kinds), np.int64)
    numbers = [number for number, kind in enumerate(all_kinds) if kind in wanted]
    compile_side_by_side([_job(all_kinds[number]) for number in numbers])
    for number in numbers:
        code = all_kinds[number].run.overloads[SIGNATURE.args]
        found[number] = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
    return found


def _job(kind: Kind) -> Job:
    return Job(kind.run, SIGNATURE, (__name__, compile_kernel.__name__, kind.name))


def compile_kernel(name: str) -> None:
    """For the processes that help to compile."""
    compile_side_by_side([_job(kind) for kind in kinds() if kind.name == name])


@instruction
def _call(typing_context: Any, function: Any, arena: Any, row: Any, task: Any, thread: Any, picture: Any) -> Any:
    """Run the kernel of SIGNATURE at this address, as compiled functions call each other."""

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        convention, given = context.call_conv, SIGNATURE.args
        pointer = builder.inttoptr(args[0], convention.get_function_type(types.none, given).as_pointer())
        status, _ = convention.call_function(builder, pointer, types.none, given, args[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.int64, *SIGNATURE.args), generate


@released_kernel(sources=[Path(viewer.__code__.co_filename)])  # whose code it holds
def execute(
    arena: np.ndarray,
    picture: np.ndarray,
    rows: np.ndarray,
    functions: np.ndarray,
    counters: np.ndarray,
    done: np.ndarray,
    thread: int,
    threads: int,
) -> None:
    """Run all rows as thread number `thread` of `threads`.

    functions: `addresses` of their kinds. counters: int64 zeros, LINE for each row and thread: tasks taken from each share.
    done: the same for each row: tasks finished.
    """
    for s in range(rows.shape[0]):
        row = rows[s]
        head = _view(row)
        function, tasks = functions[head.kind], head.tasks
        mine = 0
        for turn in range(threads):
            owner = (thread + turn) % threads
            first, last = owner * tasks // threads, (owner + 1) * tasks // threads
            while first < last:
                task = first + fetch_add(counters, (s * threads + owner) * LINE, 1)
                if task >= last:
                    break
                mine += 1
                _call(function, arena, row, task, thread, picture)
        fetch_add(done, s * LINE, mine)
        wait(done, s * LINE, tasks)
