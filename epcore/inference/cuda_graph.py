"""A network as one CUDA graph: batch norms folded, activations, gates and residuals inside the convolutions, one launch a call.

    model = epcore.EfficientPose("RT").to("cuda")
    plan = CudaGraphPlan(model, batch=1)
    outputs = plan(x)               # x CuPy float32; what model(x) gives

A plan is a snapshot of the weights. Its memory is its own (`epcore.kernels.cuda.capture`): every map lives there, places are
reused within a run. A call allocates what it returns, from the current pool, and nothing else; with `out` not even that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from epcore.base.arrays import Array, is_cupy
from epcore.inference.fused_network import FusedNetwork, Values
from epcore.inference.plan import Outputs, Plan, Profile, check_model, timings
from epcore.kernels.cuda.capture import Capture
from epcore.kernels.cuda.loader import require_cupy
from epcore.network import Network


class _Inside(NamedTuple):
    """What a plan has on the GPU: the layers with their weights, their input, the maps by label."""

    network: FusedNetwork
    x: Array
    maps: Values


class CudaGraphPlan(Plan[Outputs]):
    """A network of one input shape, captured in a CUDA graph on a GPU.

    batch, resolution (side, or (height, width); the model's own by default), preprocessing: of the x it takes.
    Raises RuntimeError without a GPU, TypeError for parameters that are not float32, ValueError for a model in training mode or
    one plans do not know.
    """

    def __init__(self, model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None) -> None:
        cupy = require_cupy()
        sides = check_model(model, batch, resolution)
        super().__init__(model, "cuda", batch, sides)
        self._network_graph, self._lock = model.graph, threading.Lock()
        shape = self.input_shape

        def build() -> Callable[[], _Inside]:
            network, x = FusedNetwork(model, cupy.asarray), cupy.zeros(shape, np.float32)
            return lambda: _Inside(network, x, network(x))

        self._captured = Capture(build)
        self.close = self._captured.close
        """Give graph, weights and maps back to the device; calls then raise RuntimeError. Letting go of the plan does it."""

    @property
    def pool_bytes(self) -> int:
        """All GPU memory the plan holds: weights, input and every map. 0 after `close`."""
        return self._captured.pool_bytes

    def __call__(self, x: Array, *, out: Outputs | None = None) -> Outputs:
        """What the model gives for x, in new arrays of the caller's. Ordered after and before the current stream.

        x may be a NumPy array: it is copied to the GPU first. out: what an earlier call returned; its arrays are written and it
        is returned again. It is the caller's to guard. Any number of threads may call one plan. Raises TypeError or ValueError
        for any other x or out.
        """
        cupy = require_cupy()
        self._check(x)
        inside, own = self._captured.result, self._captured.stream
        x = cupy.asarray(x)
        arrays: Mapping[str, Array]
        if out is None:
            # The current stream's memory: the plan's stream writes it, but it is freed and used again in the caller's order.
            arrays = {label: cupy.empty_like(maps) for label, maps in inside.maps.items()}
        else:
            arrays = self._check_out(out)
        stream = cupy.cuda.get_current_stream()
        with self._lock:  # what two threads put into the plan's stream must not mingle
            own.wait_event(stream.record())
            with own:
                inside.x[...] = x
                self._captured.launch()
                for label, maps in inside.maps.items():
                    arrays[label][...] = maps
            finished = own.record()
        stream.wait_event(finished)
        return self._wrap(dict(arrays)) if out is None else out

    def profile(self, x: Array | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, one launch after the other instead of as a graph, by CUDA events."""
        cupy = require_cupy()
        x = cupy.zeros(self.input_shape, np.float32) if x is None else x
        self._check(x)
        inside, own = self._captured.result, self._captured.stream
        calls = inside.network.calls
        seconds = np.zeros((repeats, len(calls)))
        with self._lock, own:
            inside.x[...] = cupy.asarray(x)
            for run in range(repeats):
                events = [cupy.cuda.Event() for _ in range(len(calls) + 1)]
                events[0].record()
                following = iter(events[1:])

                def record(following: Iterator[Any] = following) -> None:
                    next(following).record()

                inside.network(inside.x, after=record)
                events[-1].synchronize()
                for number, (start, end) in enumerate(pairwise(events)):
                    seconds[run, number] = cupy.cuda.get_elapsed_time(start, end) / 1e3
        rows = [(call.step, call.step.output) for call in calls]
        return timings(self._network_graph, self.input_shape, rows, np.median(seconds, axis=0).tolist())

    def _check(self, x: Array) -> None:
        if not (is_cupy(x) or isinstance(x, np.ndarray)):
            raise TypeError(f"x is a {type(x).__name__}, a CUDA graph takes CuPy or NumPy arrays")
        if x.shape != self.input_shape or x.dtype != np.float32:
            raise ValueError(f"x is {x.dtype} {x.shape}, this plan takes float32 {self.input_shape}")

    def _check_out(self, out: Outputs) -> Mapping[str, Array]:
        expected = self._captured.result.maps
        arrays = self._arrays(out, expected)
        for label, maps in expected.items():
            array = arrays[label]
            if not is_cupy(array) or array.shape != maps.shape or array.dtype != maps.dtype:
                raise ValueError(f"out: {label} is not a CuPy array, {maps.dtype} {maps.shape}")
        return arrays
