"""What a change of epcore did to the time of a plan: two checkouts, each in its own process, call by call in turns.

    python bench/before_after.py ../epcore-before . --model III --threads 2

A ratio is that of two neighbouring calls, so that whatever else the machine does hits both; the median of all is printed, and
of the half in which the first checkout was fast and the half in which it was slow: on a shared machine those can differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np

# Runs in the child: answers every line with the seconds of a call, averaged over calls of together some 50 ms.
CHILD = """
import sys, time
checkout, model, threads, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.path.insert(0, checkout)
import numpy as np
import epcore, epcore.kernels
assert epcore.kernels.__file__.startswith(checkout), f"{epcore.kernels.__file__} is not of {checkout}"
plan = epcore.compile(epcore.EfficientPose(model), batch, threads=threads)
x = np.random.default_rng(0).standard_normal(plan.input_shape, dtype=np.float32)
clock = time.process_time if threads == 1 else time.perf_counter
plan(x)
started = time.perf_counter()
plan(x)
calls = max(1, int(0.05 / (time.perf_counter() - started)))
print("ready", flush=True)
for _ in sys.stdin:
    plan(x)
    started = clock()
    for _ in range(calls):
        plan(x)
    print((clock() - started) / calls, flush=True)
"""


def measure(checkouts: list[Path], model: str, threads: int, batch: int, seconds: float) -> np.ndarray:
    """Milliseconds of a call, (checkouts, rounds). One thread: processor time; several: wall time."""
    arguments = [model, str(threads), str(batch)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(checkout.resolve()), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        )
        for checkout in checkouts
    ]  # fmt: skip

    def ask(child: subprocess.Popen[str], question: str = "") -> str:
        assert child.stdin is not None and child.stdout is not None
        if question:
            child.stdin.write(question)
            child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise SystemExit("before_after: a checkout could not be run, see above")
        return answer

    for child in children:
        ask(child)
    rounds, end = [], monotonic() + seconds
    while len(rounds) < 4 or monotonic() < end:
        rounds.append([float(ask(child, "go\n")) * 1e3 for child in children])
    for child in children:
        child.terminate()
    return np.array(rounds).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="folder of a checkout")
    parser.add_argument("after", type=Path, help="folder of another")
    parser.add_argument("--model", default="RT", choices=["RT", "I", "II", "III", "IV"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    for checkout in (options.before, options.after):
        if not (checkout / "epcore" / "__init__.py").is_file():
            parser.error(f"{checkout} is not a checkout of epcore")
    before, after = measure([options.before, options.after], options.model, options.threads, options.batch, options.seconds)
    middle = np.median(before)
    for name, chosen in (("all", before > 0), ("fast half", before <= middle), ("slow half", before > middle)):
        a, b = before[chosen], after[chosen]
        print(f"{name}: {np.median(a):.2f} and {np.median(b):.2f} ms, ratio {np.median(b / a):.3f} ({chosen.sum()} rounds)")


if __name__ == "__main__":
    main()
