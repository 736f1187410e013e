"""Numba, told that it runs on AArch64, compiles every kernel that the operators, a plan, preprocessing and decoding
call; nothing is executed.

    python -m aarch64.compile_kernels CPU FEATURES [network]            one line of JSON a kernel and signature

With `network` those of a training step of RT too, and what is compiled goes into Numba's cache, where an AArch64 process with
the same CPU and FEATURES finds it. Without, nothing is loaded or kept.

For a process of its own, started in tests/. Numba takes the architecture from the triple of the process and hands it to LLVM,
so its whole pipeline (inlining, vectorisers, cost model, machine code) and all that epcore decides by the processor are those
of an AArch64 machine. A call of a compiled function compiles it for the types of its arguments and leaves its results
unwritten; operators never look at values, so they go on to the next kernel.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import warnings
from dataclasses import asdict
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from families import AARCH64
from places import TESTS

from aarch64.assembled import assemble, enable_other_targets, target_machine


def become_aarch64(cpu: str, features: str) -> None:
    """Before Numba is imported: everything after this is compiled for AArch64."""
    enable_other_targets()
    llvm.get_process_triple = llvm.targets.get_default_triple = lambda: AARCH64.triple
    os.environ |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}


def compile_only(machine: llvm.TargetMachine, keep: bool) -> None:
    """Calls of compiled functions compile, report and return None. keep: in Numba's cache, for which they must be loaded."""
    from numba import typeof
    from numba.core.caching import NullCache
    from numba.core.codegen import JitEngine
    from numba.core.dispatcher import Dispatcher

    seen = set()
    room = ctypes.create_string_buffer(64)  # Numba writes a pointer where it believes that a function's environment is
    if not keep:
        JitEngine.finalize_object = lambda engine: None
        JitEngine.get_function_address = lambda engine, name: ctypes.addressof(room)
        JitEngine.get_global_value_address = lambda engine, name: ctypes.addressof(room)

    def call(dispatcher: Any, *arguments: Any) -> None:
        types = tuple(map(typeof, arguments))
        if (dispatcher, types) in seen:
            return
        seen.add((dispatcher, types))
        if not keep:
            dispatcher._cache = NullCache()
        dispatcher.compile(types)
        function = dispatcher.py_func
        result = assemble(dispatcher.inspect_llvm(types), machine)
        print(json.dumps({"kernel": f"{function.__module__}.{function.__qualname__}", **asdict(result)}), flush=True)

    Dispatcher.__call__ = call


def call_everything(network: bool) -> None:
    sys.path.append(str(TESTS / "kernels" / "cpu"))
    from test_cpu_parity import EXAMPLES, gradient, kernel, normal

    import epcore
    from epcore.inference.steps import kinds
    from epcore.pose.peaks import find_peaks, window
    from epcore.pose.preprocess import preprocess_pixels

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # unwritten results may be any numbers
        for op, (make, attributes) in EXAMPLES.items():
            y, saved = kernel(op).forward(*make(), **attributes)
            kernel(op).backward(gradient(y, 7), saved, **attributes)
        y, saved = kernel("conv2d").forward(normal(0, 1, 6, 6, 3), normal(1, 3, 3, 3, 20), stride=2)  # the first layer's
        kernel("conv2d").backward(gradient(y, 7), saved, stride=2)
        y, saved = kernel("mse").forward(*(normal(seed, 1, 4, 4, 3) for seed in range(3)))  # with a mask
        kernel("mse").backward(gradient(y, 7), saved)
        preprocess_pixels(np.zeros((48, 64, 3), np.uint8), 32)
        find_peaks(normal(0, 32, 32, 16), window(1.0))
        for kind in kinds():  # before a plan, which has but some of them
            kind.run(normal(0, 1), np.zeros(1, np.int64), 0, 0, normal(0, 1))
        model = epcore.EfficientPose("RT")
        epcore.compile(model, resolution=32, threads=1)
        if network:
            tape = epcore.Tape()
            outputs, _ = model.train().record(normal(0, 2, 32, 32, 3), tape)
            tape.backward(outputs["upscaled"], normal(0, *outputs["upscaled"].shape))


if __name__ == "__main__":
    network = sys.argv[3:] == ["network"]
    become_aarch64(*sys.argv[1:3])
    compile_only(target_machine(*sys.argv[1:3]), keep=network)
    call_everything(network)
