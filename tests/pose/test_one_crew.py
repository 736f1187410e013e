"""Nothing around a plan starts threads of its own: those of BLAS and OpenMP spin on after a call, on the plan's cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IN_A_PROCESS = """
import os, sys
import numpy as np
import epcore
plan = epcore.compile(epcore.EfficientPose("RT"), threads=2)
pictures = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), np.uint8)
def seconds():
    # what each thread of the process has computed, from the kernel's ticks
    ticks = {}
    for task in os.listdir("/proc/self/task"):
        fields = open(f"/proc/self/task/{task}/stat").read().rpartition(")")[2].split()
        ticks[task] = int(fields[11]) + int(fields[12])
    return ticks
epcore.predict(pictures[0], plan)
before = seconds()
for i in range(60):
    epcore.predict(pictures[i % 2], plan, real_time=i % 3 == 0)
list(epcore.predict_many(list(pictures) * 5, plan))
if sys.argv[1] == "planted":
    a = np.ones((1500, 1500), np.float32)
    for _ in range(6):
        a @ a
busy = [task for task, ticks in seconds().items() if ticks > before.get(task, 0)]
print(len(busy), "scipy.linalg" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc/self/task")
@pytest.mark.parametrize("planted", ["nothing", "planted"])
def test_only_the_plans_threads_work_during_predictions(planted: str) -> None:
    """The caller and the one helper of a plan of two threads; a product by BLAS beside them would be seen."""
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS, planted], capture_output=True, text=True, check=True)
    busy, scipy = done.stdout.split()
    assert scipy == "False"  # kernels are loaded without SciPy's BLAS
    if planted == "nothing":
        assert int(busy) <= 2
    elif int(busy) <= 2:
        pytest.skip("NumPy's BLAS has one thread here")
