"""One plan, one model, many threads: what each caller gets is right and its own, however many call at once."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest

import epcore
from epcore.data.synthetic import SyntheticFigures
from epcore.evaluate.dataset import evaluate_dataset, map_predictor
from epcore.kernels.cpu import launch, swish
from epcore.kernels.cpu.crew import Crew, Job, crew
from epcore.network import Network
from epcore.threads import threads_within

CALLERS = 8
Run = Callable[[np.ndarray], Any]


@pytest.fixture(scope="module")
def model() -> epcore.EfficientPose:
    return epcore.EfficientPose("RT")


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """(12,1,32,32,3) float32."""
    return np.random.default_rng(0).normal(size=(12, 1, 32, 32, 3)).astype(np.float32)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    yield epcore.set_threads
    epcore.set_threads(None)


def wrong_calls(run: Run, pictures: np.ndarray, calls: int) -> int:
    """`calls` calls by each of CALLERS threads; how many gave other bits than a call alone, looked at when all were over."""
    expected = [{label: maps.copy() for label, maps in run(x).by_label().items()} for x in pictures]
    barrier = threading.Barrier(CALLERS)

    def call(caller: int) -> int:
        barrier.wait()
        wrong = 0
        for first in range(0, calls, len(pictures)):
            numbers = [(caller + i) % len(pictures) for i in range(min(len(pictures), calls - first))]
            kept = [(number, run(pictures[number])) for number in numbers]
            wrong += sum(
                any(not np.array_equal(maps, expected[number][label]) for label, maps in outputs.by_label().items())
                for number, outputs in kept
            )
        return wrong

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(call, range(CALLERS)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_plan(count: int, model: epcore.EfficientPose, pictures: np.ndarray) -> None:
    assert wrong_calls(epcore.compile(model, resolution=32, threads=count), pictures, 60) == 0


def test_one_model(model: epcore.EfficientPose, pictures: np.ndarray) -> None:
    assert wrong_calls(model, pictures, 24) == 0


def test_plans_of_all_kinds_at_once(model: epcore.EfficientPose, pictures: np.ndarray) -> None:
    """Plans that share a crew, plans that do not, and operators."""
    plans = [epcore.compile(model, resolution=32, threads=count) for count in (1, 1, 2, 2, 3)]
    expected = plans[0](pictures[0]).upscaled

    def call(plan: Run) -> bool:
        return all(np.array_equal(plan(pictures[0]).upscaled, expected) for _ in range(20))

    def operators() -> bool:
        first = model(pictures[0]).upscaled
        return all(np.array_equal(model(pictures[0]).upscaled, first) for _ in range(10))

    with ThreadPoolExecutor(CALLERS) as pool:
        right = [pool.submit(call, plan) for plan in (*plans, plans[2])] + [pool.submit(operators) for _ in range(2)]
        assert all(future.result() for future in right)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plan", "model"])
def test_500_predictions_by_each_thread(kind: str, model: epcore.EfficientPose) -> None:
    """Whole predictions of RT at its own resolution."""
    run = epcore.compile(model) if kind == "plan" else model
    figures = SyntheticFigures(10, seed=5, split="test", size=256)
    shown = [figures.record(i).pixels() for i in range(10)]
    expected = [epcore.predict(picture, run) for picture in shown]
    started = time.perf_counter()

    def predict(number: int) -> bool:
        return bool(epcore.predict(shown[number % 10], run) == expected[number % 10])

    with ThreadPoolExecutor(CALLERS) as pool:
        wrong = sum(not right for right in pool.map(predict, range(500 * CALLERS)))
    print(f"{kind}: {wrong} of {500 * CALLERS} wrong, {time.perf_counter() - started:.0f} s")
    assert wrong == 0


def test_predictions_of_one_plan(model: epcore.EfficientPose) -> None:
    plan = epcore.compile(model, resolution=64, threads=2)
    figures = SyntheticFigures(8, seed=5, split="test", size=64)
    shown = [figures.record(i).pixels() for i in range(8)]
    expected = [epcore.predict(picture, plan) for picture in shown]
    with ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(lambda picture: epcore.predict(picture, plan), shown * 5)) == expected * 5


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_evaluations_that_share_a_predictor(backend: str, model: epcore.EfficientPose) -> None:
    """By a plan, and by the operators of the backend."""
    figures = SyntheticFigures(3, seed=5, split="test", size=64)
    predictor = map_predictor(model, 2, 32, backend=backend)

    def evaluate(_: int = 0) -> np.ndarray:
        with epcore.use_backend(backend):
            return evaluate_dataset(predictor, figures, 32, flip=True).scores

    expected = evaluate()
    with ThreadPoolExecutor(CALLERS) as pool:
        assert all(np.array_equal(scores, expected) for scores in pool.map(evaluate, range(2 * CALLERS)))


def test_an_event_loop_in_a_thread(model: epcore.EfficientPose, pictures: np.ndarray) -> None:
    """As in a notebook or under an ASGI server: calls from the loop's executor while the loop itself calls too."""
    plan = epcore.compile(model, resolution=32, threads=2)
    expected = [plan(x).upscaled for x in pictures]

    async def serve() -> bool:
        calls = [asyncio.to_thread(plan, x) for x in pictures]
        here = plan(pictures[0]).upscaled
        outputs = await asyncio.gather(*calls)
        return np.array_equal(here, expected[0]) and all(
            np.array_equal(each.upscaled, want) for each, want in zip(outputs, expected, strict=True)
        )

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, serve()).result()


class TestOutputs:
    def test_belong_to_the_caller(self, model: epcore.EfficientPose, pictures: np.ndarray) -> None:
        plan = epcore.compile(model, resolution=32)
        first = plan(pictures[0])
        kept = {label: maps.copy() for label, maps in first.by_label().items()}
        second = plan(pictures[1])
        for label, maps in first.by_label().items():
            assert np.array_equal(maps, kept[label]), label
            assert not np.array_equal(second.by_label()[label], kept[label]), label
            assert maps.flags.c_contiguous
            maps[:] = np.nan  # theirs to write
        assert np.array_equal(plan(pictures[0]).upscaled, kept["upscaled"])

    def test_outlive_the_plan(self, model: epcore.EfficientPose, pictures: np.ndarray) -> None:
        plan = epcore.compile(model, resolution=32)
        outputs = plan(pictures[0])
        kept = outputs.upscaled.copy()
        del plan
        gc.collect()
        assert np.array_equal(outputs.upscaled, kept)

    def test_of_a_network_without_a_name_for_its_maps(self, pictures: np.ndarray) -> None:
        plan = epcore.compile(epcore.EfficientNet("B0", blocks=2), resolution=32)
        first, second = plan(pictures[0]), plan(pictures[1])
        assert all(not np.array_equal(first[label], second[label]) for label in first)
        kept = {label: maps.copy() for label, maps in first.items()}
        assert plan(pictures[0], out=second) is second
        assert all(np.array_equal(second[label], kept[label]) for label in first)

    def test_written_to_out(self, model: epcore.EfficientPose, pictures: np.ndarray) -> None:
        plan = epcore.compile(model, resolution=32)
        out, expected = plan(pictures[0]), plan(pictures[1])
        places = {label: maps.ctypes.data for label, maps in out.by_label().items()}
        assert plan(pictures[1], out=out) is out
        for label, maps in out.by_label().items():
            assert maps.ctypes.data == places[label]
            assert np.array_equal(maps, expected.by_label()[label]), label

    def test_anywhere_in_memory(self, model: epcore.EfficientPose, pictures: np.ndarray) -> None:
        """Below and above the arena, and at no multiple of a cache line."""
        plan = epcore.compile(model, resolution=32)
        expected = plan(pictures[0]).by_label()
        sides = set()
        held = []
        for skip in range(40):
            room = {label: np.full(maps.size + 64, np.nan, np.float32) for label, maps in expected.items()}
            inner = {label: room[label][skip : skip + maps.size].reshape(maps.shape) for label, maps in expected.items()}
            plan(pictures[0], out=epcore.PoseOutputs.of(inner))
            for label, maps in expected.items():
                assert np.array_equal(inner[label], maps), label
                assert np.isnan(room[label][:skip]).all()
                assert np.isnan(room[label][skip + maps.size :]).all()
                sides.add(inner[label].ctypes.data < plan._program.arena.ctypes.data)
            held.append((room, np.empty(1 << (10 + skip % 14), np.float32)))
        assert sides == {True, False}

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda maps, x: dict(maps), TypeError, "out is a dict, expected the PoseOutputs"),
            (lambda maps, x: epcore.PoseOutputs.of({"pafs": maps["pafs"]}), ValueError, "out has pafs, expected pafs, confs2"),
            (lambda maps, x: changed(maps, pafs=maps["pafs"][:, :3]), ValueError, r"pafs is float32 \(1, 3, 4, 28\)"),
            (lambda maps, x: changed(maps, confs3=maps["confs3"].astype(np.float64)), ValueError, "confs3 is float64"),
            (lambda maps, x: changed(maps, pafs=[0.0]), ValueError, "pafs is a list"),
            (lambda maps, x: changed(maps, confs2=maps["confs2"].transpose(0, 2, 1, 3)), ValueError, "C-contiguous"),
            (lambda maps, x: changed(maps, confs2=read_only(maps["confs2"])), ValueError, "writeable"),
            (lambda maps, x: changed(maps, confs2=maps["confs3"]), ValueError, "confs3 overlaps confs2"),
            (lambda maps, x: changed(maps, confs2=x.ravel()[:256].reshape(1, 4, 4, 16)), ValueError, "confs2 overlaps x"),
            (lambda maps, x: changed(maps, pafs=unaligned(maps["pafs"])), ValueError, "aligned"),
        ],
    )  # fmt: skip
    def test_refused(
        self,
        change: Callable[..., Any],
        error: type[Exception],
        message: str,
        model: epcore.EfficientPose,
        pictures: np.ndarray,
    ) -> None:
        plan = epcore.compile(model, resolution=32)
        x = pictures[0].copy()
        with pytest.raises(error, match=message):
            plan(x, out=change(plan(x).by_label(), x))
        assert np.array_equal(x, pictures[0])


def changed(maps: dict[str, np.ndarray], **others: Any) -> epcore.PoseOutputs:
    return epcore.PoseOutputs.of(maps | others)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(bytearray(array.nbytes + 1), np.uint8)[1:].view(np.float32).reshape(array.shape)


def test_plans_are_neither_pickled_nor_copied(model: epcore.EfficientPose, pictures: np.ndarray) -> None:
    plan = epcore.compile(model, resolution=32)
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickle the model"):
            take(plan)
    twins: list[Network] = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for twin in twins:
        assert np.array_equal(epcore.compile(twin, resolution=32)(pictures[0]).upscaled, plan(pictures[0]).upscaled)


class TestCrew:
    def test_a_helper_that_died_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
        team, inside, died = Crew(2), threading.Event(), threading.Event()

        def fail(thread: int) -> None:
            if thread == 0:
                assert inside.wait(60)
                return
            inside.set()
            died.set()
            raise MemoryError

        team.run(fail)
        assert died.wait(60)
        helper = team._helpers[0]
        assert helper is not None
        helper.join(60)
        assert not helper.is_alive()
        both = threading.Barrier(2, timeout=60)
        team.run(lambda thread: both.wait() and None)
        assert team._helpers[0] is not helper

    def test_works_without_helpers(
        self, monkeypatch: pytest.MonkeyPatch, model: epcore.EfficientPose, pictures: np.ndarray
    ) -> None:
        """Where the system gives no threads the caller does everything, to the same bits."""
        plan = epcore.compile(model, resolution=32, threads=2)
        expected = plan(pictures[0]).upscaled

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        plan._crew = Crew(2)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            assert np.array_equal(plan(pictures[0]).upscaled, expected)

    def test_nobody_waits_for_a_helper_that_is_late(self) -> None:
        """A helper that hangs in one run keeps none of the next from finishing, and joins none that is over."""
        team, inside, go = Crew(2), threading.Event(), threading.Event()
        seen: list[tuple[str, int]] = []

        def hang(thread: int) -> None:
            if thread:
                inside.set()
                assert go.wait(60)
            else:
                assert inside.wait(60)

        team.run(hang)
        for number in range(3):
            team.run(lambda thread, number=number: seen.append((f"run {number}", thread)))  # type: ignore[misc]
        go.set()
        both = threading.Barrier(2, timeout=60)
        team.run(lambda thread: both.wait() and None)
        assert seen == [("run 0", 0), ("run 1", 0), ("run 2", 0)]

    def test_an_exception_leaves_no_helper_at_work(self) -> None:
        team, inside = Crew(2), threading.Event()
        over = []

        def work(thread: int) -> None:
            if thread == 0:
                assert inside.wait(60)
                raise KeyboardInterrupt
            inside.set()
            time.sleep(0.3)
            over.append(thread)

        with pytest.raises(KeyboardInterrupt):
            team.call(lambda: team.run(work))
        assert over == [1]
        assert team.call(lambda: team.run(lambda thread: None)) is None

    def test_closing_goes_on_after_an_exception(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second signal while the crew deals with the first: the helper is seen out all the same."""
        team, inside, go = Crew(2), threading.Event(), threading.Event()
        over, close = [], Job.close
        attempts = []

        def work(thread: int) -> None:
            if thread == 0:
                assert inside.wait(60)
                raise KeyboardInterrupt("first")
            inside.set()
            assert go.wait(60)
            over.append(thread)

        def interrupted(self: Job, *, wait: bool) -> None:
            attempts.append(wait)
            if len(attempts) < 3:
                close(self, wait=False)
                raise KeyboardInterrupt("second")
            go.set()
            close(self, wait=wait)

        monkeypatch.setattr(Job, "close", interrupted)
        with pytest.raises(KeyboardInterrupt, match="second"):
            team.run(work)
        assert over == [1]
        assert attempts == [True] * 3

    def test_no_number_twice(self) -> None:
        seen: list[int] = []
        job = Job(seen.append)
        for number in (1, 2, 1):
            job.join(number)
        job.close(wait=True)
        job.join(3)
        assert seen == [1, 2]

    def test_a_call_within_a_call_is_refused(self) -> None:
        team = Crew(1)
        with pytest.raises(RuntimeError, match="this very thread is in a call"):
            team.call(lambda: team.call(lambda: None))
        assert team.call(lambda: 5) == 5

    def test_plans_of_one_thread_do_not_wait_for_each_other(self) -> None:
        one, other = crew(1), crew(1)
        both = threading.Barrier(2, timeout=60)
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(team.call, both.wait) for team in (one, other)]:
                future.result()
        assert crew(2) is crew(2)

    def test_helpers_end_with_their_crew(self) -> None:
        team = Crew(3)
        together = threading.Barrier(3, timeout=60)
        team.run(lambda thread: together.wait() and None)
        helpers = [helper for helper in team._helpers if helper]
        assert len(helpers) == 2
        del team
        gc.collect()
        for helper in helpers:
            helper.join(60)
            assert not helper.is_alive()


class TestNumberOfThreads:
    def test_holds_in_every_python_thread(self, threads: Callable[[int], None]) -> None:
        """Numba keeps the number by thread: without epcore's care a new one has all cores."""
        x = np.ones(100, np.float32)

        def count() -> int:
            swish.forward(x)
            return int(numba.get_num_threads())

        default = count()
        most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        assert default == min(epcore.get_threads(), most)
        with ThreadPoolExecutor(1) as pool:
            for number in (1, most, 1, most + 5):
                threads(number)
                assert count() == pool.submit(count).result() == min(number, most)
            epcore.set_threads(None)
            assert count() == pool.submit(count).result() == default

    def test_may_change_during_calls(
        self, threads: Callable[[int], None], model: epcore.EfficientPose, pictures: np.ndarray
    ) -> None:
        plan = epcore.compile(model, resolution=32, threads=2)
        expected, by_operators = plan(pictures[0]).upscaled, model(pictures[0]).upscaled
        stop = threading.Event()

        def change() -> int:
            changes = 0
            while not stop.is_set():
                threads(1 + changes % 3)
                changes += 1
            return changes

        def call() -> bool:
            return all(
                np.array_equal(plan(pictures[0]).upscaled, expected)
                and np.array_equal(model(pictures[0]).upscaled, by_operators)
                for _ in range(10)
            )

        with ThreadPoolExecutor(5) as pool:
            changer = pool.submit(change)
            right = [pool.submit(call) for _ in range(4)]
            try:
                assert all(future.result() for future in right)
            finally:
                stop.set()
            assert changer.result() > 0
        assert plan.threads == 2

    def test_none_is_the_number_of_before(self, threads: Callable[[int], None]) -> None:
        default = epcore.get_threads()
        threads(default + 1)
        assert epcore.get_threads() == default + 1
        epcore.set_threads(None)
        assert epcore.get_threads() == default
        for wrong in (0, -1, True, 1.0):
            with pytest.raises(ValueError, match="whole number from 1 to"):
                epcore.set_threads(wrong)  # type: ignore[arg-type]

    def test_within_a_block(self, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody had chosen a number: nor has anybody afterwards, and EPCORE_THREADS counts again."""
        monkeypatch.setenv("EPCORE_THREADS", "3")
        with pytest.raises(KeyError), threads_within(2):  # noqa: PT012
            assert epcore.get_threads() == 2
            raise KeyError
        monkeypatch.setenv("EPCORE_THREADS", "4")
        assert epcore.get_threads() == 4
        threads(5)
        with threads_within(2):
            pass
        assert epcore.get_threads() == 5


def test_the_backend_is_a_threads_own(model: epcore.EfficientPose) -> None:
    """Threads start with "auto", whatever block they were started in; those of asyncio.to_thread inherit it."""
    with epcore.use_backend("reference"):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(epcore.backend.current_backend).result() == "auto"
        assert asyncio.run(asyncio.to_thread(epcore.backend.current_backend)) == "reference"


def test_layer_is_known_once_a_kernel_ran() -> None:
    swish.forward(np.ones(10, np.float32))
    assert launch.layer() in ("tbb", "omp", "workqueue")
