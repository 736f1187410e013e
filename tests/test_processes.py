"""Forked, spawned, interrupted and ending processes: right results, or an error, and never a process that waits for ever.

Each test is a script in a process of its own, with a time limit, since most of what could go wrong ends or hangs a process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from places import DOCS

LIMIT = 300  # seconds; some scripts compile

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
posix_signals = pytest.mark.skipif(os.name != "posix", reason="no interval timer here")

START = """
import os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # what is tested here
import numpy as np
import epcore
from concurrent.futures import ThreadPoolExecutor

model = epcore.EfficientPose("RT")
xs = np.random.default_rng(0).normal(size=(4, 1, 32, 32, 3)).astype(np.float32)

def equal(a, b):
    a, b = a.by_label(), b.by_label()
    return a.keys() == b.keys() and all(np.array_equal(a[label], b[label]) for label in a)

def exit_codes(pids, seconds=60):
    "Of children; those that do not end in time are killed and give None."
    end, codes = time.monotonic() + seconds, {}
    while len(codes) < len(pids):
        for pid in set(pids) - codes.keys():
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                codes[pid] = None
        time.sleep(0.01)
    return [codes[pid] for pid in pids]

def forked(work):
    "A child that ends with 0 if work() is true, with 3 if it is false and with 4 if it raises."
    pid = os.fork()
    if pid == 0:
        code = 4
        try:
            code = 0 if work() else 3
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid
"""


def run(code: str, tmp_path: Path, *, start: str = START, **environment: str) -> str:
    """What the script prints; it has to end well and in time."""
    script = tmp_path / "script.py"
    script.write_text(start + code, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # children that hang go with it
    ) as process:
        try:
            output, errors = process.communicate(timeout=LIMIT)
        finally:
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    assert process.returncode == 0, errors[-5000:]
    return output


FORKED_POOL = """
import multiprocessing

plan = epcore.compile(model, resolution=32)
by_plan, by_model = [plan(x) for x in xs], [model(x) for x in xs]

def predict(number):
    return os.getpid(), equal(plan(xs[number % 4]), by_plan[number % 4]), equal(model(xs[number % 4]), by_model[number % 4])

started = time.perf_counter()
with multiprocessing.get_context("fork").Pool(4) as pool:
    answers = pool.map_async(predict, range(40), chunksize=1).get(timeout=120)
print(f"{time.perf_counter() - started:.2f} s with {plan.threads} threads, {len({pid for pid, _, _ in answers})} processes")
assert len(answers) == 40 and all(right and also for _, right, also in answers), answers
assert os.getpid() not in {pid for pid, _, _ in answers}
assert equal(plan(xs[0]), by_plan[0]) and equal(model(xs[0]), by_model[0])
"""


@fork
@pytest.mark.parametrize("environment", [{}, {"EPCORE_THREADS": "1"}, {"EPCORE_THREADS": "3"}], ids=str)
def test_pool_forked_after_predictions(environment: dict[str, str], tmp_path: Path) -> None:
    assert " s with " in run(FORKED_POOL, tmp_path, **environment)


@fork
def test_parent_and_children_predict_side_by_side(tmp_path: Path) -> None:
    """A server that loads the model, warms it up, forks its workers and goes on itself; a worker forks again."""
    code = """
plan = epcore.compile(model, resolution=32, threads=2)
by_plan, by_model = plan(xs[0]), model(xs[0])

def work():
    right = all(equal(plan(xs[0]), by_plan) and equal(model(xs[0]), by_model) for _ in range(5))
    with ThreadPoolExecutor(4) as pool:  # threads of the child share its crew
        return right and all(pool.map(lambda _: equal(plan(xs[0]), by_plan) and equal(model(xs[0]), by_model), range(12)))

def work_and_fork():
    return work() and exit_codes([forked(work)]) == [0] and work()

pids = [forked(work), forked(work_and_fork)]
assert work()
assert exit_codes(pids, 120) == [0, 0]
"""
    run(code, tmp_path)


@fork
def test_forked_while_threads_are_at_work(tmp_path: Path) -> None:
    """At the fork other threads hold the locks of the plan, its crew and (in some of the forks) Numba's."""
    code = """
plan = epcore.compile(model, resolution=32, threads=2)
by_plan, by_model = plan(xs[0]), model(xs[0])
stop, wrong = threading.Event(), []

def serve(run, expected):
    while not stop.is_set():
        if not equal(run(xs[0]), expected):
            wrong.append(run)

servers = [threading.Thread(target=serve, args=pair) for pair in [(plan, by_plan), (plan, by_plan), (model, by_model)]]
for server in servers:
    server.start()
pids = []
for _ in range(20):
    time.sleep(0.003)
    pids.append(forked(lambda: equal(plan(xs[0]), by_plan) and equal(model(xs[0]), by_model)))
codes = exit_codes(pids, 120)
stop.set()
for server in servers:
    server.join()
assert codes == [0] * 20, codes
assert not wrong
"""
    run(code, tmp_path)


@fork
def test_a_fork_waits_until_nothing_is_compiled(tmp_path: Path) -> None:
    """Numba's lock, held by another thread at the fork, would never be let go in the child."""
    code = """
from numba.core.compiler_lock import global_compiler_lock
from epcore.kernels.cpu import swish

held, x = threading.Event(), np.ones(100, np.float32)

def compile():
    with global_compiler_lock:
        held.set()
        time.sleep(0.5)

compiling = threading.Thread(target=compile)
compiling.start()
held.wait()
assert exit_codes([forked(lambda: swish.forward(x)[0].all())], 100) == [0]
compiling.join()
assert swish.forward(x)[0].all()
"""
    run(code, tmp_path)


@fork
def test_forked_before_anything_ran(tmp_path: Path) -> None:
    """Then a child has Numba's threads like any other process."""
    code = """
from epcore.kernels.cpu import launch, swish

def work():
    swish.forward(xs[0])
    return not launch._alone and launch.layer() is not None

assert launch.layer() is None
assert exit_codes([forked(work)], 100) == [0]
assert work()
"""
    run(code, tmp_path)


WORKQUEUE = """
from epcore.kernels.cpu import launch, swish

plan = epcore.compile(model, resolution=32, threads=2)
by_plan, by_model = plan(xs[0]), model(xs[0])
x = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
y = swish.forward(x)[0]
assert launch.layer() == "workqueue"

def work(_=None):
    right = all(np.array_equal(swish.forward(x)[0], y) for _ in range(200))
    return right and equal(model(xs[0]), by_model) and equal(plan(xs[0]), by_plan)

with ThreadPoolExecutor(4) as pool:
    assert all(pool.map(work, range(8)))
if hasattr(os, "fork"):
    with ThreadPoolExecutor(2) as pool:
        at_work = [pool.submit(work) for _ in range(4)]
        pids = [forked(lambda: not launch._alone and work()) for _ in range(3)]
        assert all(future.result() for future in at_work)
    assert exit_codes(pids, 100) == [0] * 3

    from numba.core.compiler_lock import global_compiler_lock
    held = threading.Event()

    def launch_and_compile():
        with launch._one_at_a_time:
            held.set()
            time.sleep(0.3)
            with global_compiler_lock:
                pass

    compiling = threading.Thread(target=launch_and_compile)
    compiling.start()
    held.wait()
    assert exit_codes([forked(work)], 100) == [0]
    compiling.join()
"""


def test_workqueue(tmp_path: Path) -> None:
    """Numba's own threading layer, which ends a process where two threads launch at once."""
    run(WORKQUEUE, tmp_path, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fresh_processes(method: str, tmp_path: Path) -> None:
    """The model goes to the processes by pickle, the plan is compiled there."""
    if method == "forkserver" and not hasattr(os, "fork"):
        pytest.skip("no forkserver here")
    code = f"""
import multiprocessing

plan = None

def start(model):
    global plan
    plan = epcore.compile(model, resolution=32, threads=1)

def predict(number):
    return plan(xs[number]), os.getpid()

if __name__ == "__main__":
    start(model)
    with multiprocessing.get_context({method!r}).Pool(2, start, (model,)) as pool:
        answers = pool.map_async(predict, range(4), chunksize=1).get(timeout=200)
    for number, (outputs, pid) in enumerate(answers):
        assert pid != os.getpid() and equal(outputs, plan(xs[number]))
"""
    run(code, tmp_path)


SIGNALS = """
class Stop(Exception):
    pass

armed = False

def stop(number, frame):
    if armed:
        raise Stop

plan = epcore.compile(model, resolution=32, threads=2)
by_plan, by_model = [plan(x) for x in xs], [model(x) for x in xs]
out = plan(xs[0])
signal.signal(signal.SIGALRM, stop)
rng = np.random.default_rng(0)

def interrupt(run, expected, seconds, times):
    "Calls until `times` were interrupted, each perhaps more than once; after every one the bits are right."
    global armed
    interrupted = 0
    for number in range(100 * times):
        x, want = xs[number % 4], expected[number % 4]
        try:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, seconds), rng.uniform(1e-5, seconds / 10))
                run(x)
            finally:
                armed = False
        except Stop:
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert equal(run(x), want), number
        if interrupted == times:
            return
    raise AssertionError(f"{interrupted} interruptions only")

def seconds_of(run):
    started = time.perf_counter()
    for x in xs:
        run(x)
    return (time.perf_counter() - started) / len(xs)

interrupt(plan, by_plan, 1.5 * seconds_of(plan), 200)
interrupt(lambda x: plan(x, out=out), by_plan, 1.5 * seconds_of(plan), 100)
interrupt(model, by_model, 1.5 * seconds_of(model), 20)
assert not plan._crew._busy and plan._crew._post == [None]
with ThreadPoolExecutor(2) as pool:  # no lock is held
    assert all(pool.map(lambda _: equal(plan(xs[0]), by_plan[0]) and equal(model(xs[0]), by_model[0]), range(8)))
"""


@posix_signals
def test_signal_handlers_that_raise(tmp_path: Path) -> None:
    run(SIGNALS, tmp_path)


@posix_signals
def test_a_signal_handler_that_calls_the_plan(tmp_path: Path) -> None:
    """It would wait for itself: an error at once where it came in the middle, right results elsewhere."""
    code = """
plan, other = (epcore.compile(model, resolution=32, threads=2) for _ in range(2))
expected, kinds = plan(xs[0]), set()

def handler(number, frame):
    try:
        kinds.add(equal(other(xs[0]), expected))
    except RuntimeError as error:
        assert "this very thread" in str(error), error
        kinds.add("refused")

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
end = time.monotonic() + 100
while "refused" not in kinds and time.monotonic() < end:
    assert equal(plan(xs[0]), expected)
signal.setitimer(signal.ITIMER_REAL, 0)
assert "refused" in kinds and False not in kinds, kinds
assert equal(plan(xs[0]), expected) and equal(other(xs[0]), expected)
"""
    run(code, tmp_path)


@posix_signals
def test_control_c(tmp_path: Path) -> None:
    code = """
plan = epcore.compile(model, resolution=32, threads=2)
expected, interruptions = plan(xs[0]), 0
for _ in range(20):
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        while True:
            plan(xs[0])
    except KeyboardInterrupt:
        interruptions += 1
    timer.join()
    assert equal(plan(xs[0]), expected)
assert interruptions == 20
"""
    run(code, tmp_path)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_interpreter_ends_while_threads_predict(threads: int, tmp_path: Path) -> None:
    """Helpers wait or are at work, daemon threads are in calls, and something still predicts at exit."""
    code = f"""
import atexit

plan = epcore.compile(model, resolution=32, threads={threads})
unused = epcore.compile(model, resolution=32, threads=5)  # its helpers start at exit, or not at all
expected = plan(xs[0])

def serve(run):
    while True:
        run(xs[0])

@atexit.register
def last():
    print(equal(plan(xs[0]), expected) and equal(unused(xs[0]), expected))

for run in (plan, plan, model):
    threading.Thread(target=serve, args=(run,), daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(3):
        assert run(code, tmp_path).split() == ["True"]


PAGE = DOCS / "servers.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S) if PAGE.is_file() else []


@pytest.mark.parametrize("number", range(max(1, len(BLOCKS))))
def test_page_about_servers(number: int, tmp_path: Path) -> None:
    """Every script of docs/servers.md runs as it stands there."""
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    assert BLOCKS
    if '"fork"' in BLOCKS[number] and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    run(BLOCKS[number], tmp_path, start="")
