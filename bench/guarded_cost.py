"""What it costs to open a weight file in a process of its own, on a quiet machine: `python bench/guarded_cost.py FILE`.

Fresh processes, alternately with and without; each loads the file twice into a network that is built already.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = """
import sys, time, epcore
model = epcore.EfficientPose("RT")
for _ in range(2):
    start = time.perf_counter()
    epcore.load_weights(model, sys.argv[1], trusted=sys.argv[2] == "trusted")
    print(time.perf_counter() - start)
"""


def measure(file: str, how: str) -> list[float]:
    command = [sys.executable, "-c", CODE, file, how]
    return [float(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="weights of EfficientPose RT")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    rounds = [(measure(options.file, "trusted"), measure(options.file, "guarded")) for _ in range(options.rounds)]
    for number, which in enumerate(("first file", "second file")):
        here, guarded = (statistics.median(each[side][number] for each in rounds) for side in (0, 1))
        extra = statistics.median(own[number] - trusted[number] for trusted, own in rounds)
        print(f"{which}: here {here * 1e3:.0f} ms, in a process of its own {guarded * 1e3:.0f} ms, extra {extra * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
