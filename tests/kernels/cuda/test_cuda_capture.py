"""Captured graphs: whose their memory is, what may not happen while they are captured, and what is said where it does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import Device, device

import epcore
from epcore.inference.cuda_graph import CudaGraphPlan
from epcore.kernels.cuda import capture, swish
from epcore.kernels.cuda.capture import Capture
from epcore.kernels.cuda.loader import require_cupy

Run = Callable[[], Any]


@pytest.fixture(params=("stand-in", pytest.param("gpu", marks=pytest.mark.gpu)))
def gpu(request: pytest.FixtureRequest) -> Iterator[Device]:
    with device(request.param) as found:
        yield found


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch, gpu: Device) -> list[Any]:
    """Every pool that is made, kept alive: a dropped plan is to give its memory back, not the pool's end."""
    made, Pool = [], gpu.xp.cuda.MemoryPool

    def make() -> Any:
        made.append(Pool())
        return made[-1]

    monkeypatch.setattr(gpu.xp.cuda, "MemoryPool", make)
    return made


def twice(x: Any) -> Any:
    return swish.forward(swish.forward(x)[0])[0]


def test_every_launch_writes_the_result(gpu: Device) -> None:
    x = gpu.put(np.ones((1, 4, 4, 8), np.float32))
    captured = Capture(lambda: lambda: twice(x))
    for value in (0.5, -2.0):
        x.fill(value)
        captured.launch()
        captured.stream.synchronize()
        np.testing.assert_array_equal(gpu.get(captured.result), gpu.get(twice(x)))


class TestMemory:
    def test_of_a_dropped_plan_is_given_back(self, gpu: Device, pools: list[Any]) -> None:
        plan = CudaGraphPlan(epcore.EfficientPose("RT").to("cuda"), resolution=64)
        x = gpu.put(np.zeros((1, 64, 64, 3), np.float32))
        outputs = plan(x)
        assert plan.pool_bytes == pools[0].total_bytes() > 1 << 20
        before = gpu.get(outputs.final)
        del plan
        gc.collect()
        assert pools[0].total_bytes() == 0
        np.testing.assert_array_equal(gpu.get(outputs.final), before)  # they are the caller's

    def test_of_a_closed_plan_is_given_back(self, gpu: Device, pools: list[Any]) -> None:
        plan = CudaGraphPlan(epcore.EfficientPose("RT").to("cuda"), resolution=64)
        plan.close()
        assert plan.pool_bytes == pools[0].total_bytes() == 0
        for call in (plan, plan.profile):
            with pytest.raises(RuntimeError, match="the graph was closed"):
                call(gpu.put(np.zeros((1, 64, 64, 3), np.float32)))
        plan.close()

    @pytest.mark.parametrize("when", ["build", "run", "capture"])
    def test_of_a_failure_is_given_back(self, gpu: Device, pools: list[Any], when: str) -> None:
        def build() -> Run:
            x = require_cupy().zeros((1, 64, 64, 8), np.float32)
            if when == "build":
                raise KeyError("build")
            calls = iter(["run", "run", "capture"])

            def run() -> Any:
                if next(calls) == when:
                    raise KeyError(when)
                return twice(x)

            return run

        with pytest.raises(KeyError, match=when):
            Capture(build)
        gc.collect()
        Capture(lambda: lambda: None)  # an error's traceback holds arrays: by the next capture they are free
        assert pools[0].total_bytes() == 0

    def test_that_the_capture_alone_needs_is_refused(self, gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(capture, "SETTLING", 3)
        sizes = iter(range(8, 2048, 512))

        def build() -> Run:
            return lambda: require_cupy().zeros((1, next(sizes), 64, 8), np.float32)

        with pytest.raises(RuntimeError, match=r"a captured run asked for \d+ bytes that the runs before it did not need"):
            Capture(build)

    def test_settles_before_the_capture(self, gpu: Device) -> None:
        """The first run finds an empty pool, the second the pieces the first left: it may need more."""
        cupy = require_cupy()

        def build() -> Run:
            def run() -> Any:
                large = cupy.zeros(3 << 18, np.float32)
                small = cupy.zeros(1 << 18, np.float32)
                del large
                kept = cupy.zeros(1 << 18, np.float32), cupy.zeros(1 << 18, np.float32)
                return small, kept, cupy.zeros(3 << 18, np.float32)

            return run

        assert Capture(build).pool_bytes


class TestFailures:
    def test_the_error_of_the_run_survives(self, gpu: Device) -> None:
        """A capture that failed cannot be ended; that it cannot is not what went wrong."""
        x = gpu.put(np.ones((1, 4, 4, 8), np.float32))
        with pytest.raises(gpu.xp.cuda.runtime.CUDARuntimeError, match="stream is capturing"):
            Capture(lambda: lambda: float(twice(x).sum()))
        np.testing.assert_array_equal(gpu.get(x), 1)  # the device goes on


class TestStandIn:
    """It notices what a GPU would not forgive."""

    @pytest.fixture
    def cupy(self) -> Iterator[Any]:
        with device("stand-in") as found:
            yield found.xp

    @pytest.mark.parametrize("read", [float, bool, int, lambda x: x.get(), lambda x: x.item(), lambda x: x.tolist()])
    def test_reads_while_capturing(self, cupy: Any, read: Callable[[Any], Any]) -> None:
        x, stream = cupy.ones(()), cupy.cuda.Stream()
        assert read(x) == 1
        with stream:
            stream.begin_capture()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="not permitted when stream is capturing"):
                read(x)
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
                stream.end_capture()

    @pytest.mark.parametrize("upload", [lambda cupy: cupy.asarray(np.ones(3)), lambda cupy: cupy.ones(3).set(np.ones(3))])
    def test_copies_from_the_host_while_capturing(self, cupy: Any, upload: Callable[[Any], Any]) -> None:
        stream = cupy.cuda.Stream()
        upload(cupy)
        with stream:
            stream.begin_capture()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="copying from the host"):
                upload(cupy)

    def test_numpy_arrays_among_its_own(self, cupy: Any) -> None:
        x = cupy.ones(3)
        with pytest.raises(TypeError, match="Implicit conversion"):
            np.asarray(x)
        for mix in (lambda: x + np.ones(3), lambda: np.ones(3) * x, lambda: cupy.add(x, np.ones(3))):
            with pytest.raises(TypeError):
                mix()
        with pytest.raises(TypeError, match="Unsupported type"):
            x[...] = np.ones(3)

    def test_freed_memory_is_not_a_number(self, cupy: Any) -> None:
        x = cupy.ones(3, np.float32)
        stays = x.host
        del x
        assert np.isnan(stays).all()
        assert np.isnan(cupy.empty(3, np.float32).get()).all()

    def test_a_map_let_go_too_early(self, cupy: Any) -> None:
        """Within a graph as well: what was freed there is NaN when the graph gets there."""
        x, stream = cupy.ones(3, np.float32), cupy.cuda.Stream()
        with stream:
            stream.begin_capture()
            y = x + 1
            address = y.host
            z = cupy.zeros(3, np.float32)
            del y
            graph = stream.end_capture()
        graph.launch()
        assert np.isnan(address).all()
        np.testing.assert_array_equal(z.get(), 0)

    def test_a_graph_over_memory_that_was_given_back(self, cupy: Any) -> None:
        pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream()
        with cupy.cuda.using_allocator(pool.malloc), stream:
            x = cupy.ones(3, np.float32)
            stream.begin_capture()
            y = x + 1
            graph = stream.end_capture()
            graph.launch(stream)
            np.testing.assert_array_equal(y.get(), 2)
            pool.free_all_blocks()
            graph.launch(stream)  # nothing of it was free
            del y
            pool.free_all_blocks()
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="given back"):
                graph.launch(stream)

    def test_nothing_runs_while_capturing(self, cupy: Any) -> None:
        x, stream = cupy.zeros(3), cupy.cuda.Stream()
        with stream:
            stream.begin_capture()
            x += 1
            x[...] = x * 2
            graph = stream.end_capture()
        np.testing.assert_array_equal(x.get(), 0)
        graph.launch()
        graph.launch()
        np.testing.assert_array_equal(x.get(), 6)
        assert graph.names == ["add", "mul", "setitem"]
