"""Runs a program: every thread walks the same steps, takes tasks, and goes on when all tasks of a step are done."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.band import band
from epcore.kernels.cpu.fused.depthwise import depthwise
from epcore.kernels.cpu.fused.gate import gate
from epcore.kernels.cpu.fused.move import add, copy, halve, read
from epcore.kernels.cpu.fused.pointwise import pointwise
from epcore.kernels.cpu.fused.stem import stem
from epcore.kernels.cpu.fused.threads import LINE, fetch_add, wait
from epcore.kernels.cpu.fused.upscale import upscale, upscale_dense
from epcore.kernels.cpu.jit import released_kernel

KIND, TASKS = f.KIND, f.TASKS


@released_kernel
def execute(
    arena: np.ndarray,
    picture: np.ndarray,
    program: np.ndarray,
    counters: np.ndarray,
    done: np.ndarray,
    thread: int,
    threads: int,
) -> None:
    """Run all steps as thread number `thread` of `threads`.

    counters: int64 zeros, LINE for each step and thread: tasks taken from each share. done: the same for each step: tasks
    finished.
    """
    for s in range(program.shape[0]):
        step = program[s]
        kind, tasks = step[KIND], step[TASKS]
        mine = 0
        for turn in range(threads):
            owner = (thread + turn) % threads
            first, last = owner * tasks // threads, (owner + 1) * tasks // threads
            while first < last:
                task = first + fetch_add(counters, (s * threads + owner) * LINE, 1)
                if task >= last:
                    break
                mine += 1
                if kind == f.POINTWISE:
                    pointwise(arena, step, task)
                elif kind == f.DEPTHWISE:
                    depthwise(arena, step, task)
                elif kind == f.BAND:
                    band(arena, step, task, thread)
                elif kind == f.GATE:
                    gate(arena, step, task)
                elif kind == f.STEM:
                    stem(arena, step, task)
                elif kind == f.READ:
                    read(arena, step, task, picture)
                elif kind == f.HALVE:
                    halve(arena, step, task, picture)
                elif kind == f.ADD:
                    add(arena, step, task)
                elif kind == f.COPY:
                    copy(arena, step, task)
                elif kind == f.UPSCALE:
                    upscale(arena, step, task)
                else:
                    upscale_dense(arena, step, task)
        fetch_add(done, s * LINE, mine)
        wait(done, s * LINE, tasks)
