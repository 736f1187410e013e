"""A network as one CUDA graph: batch norms folded, activations, gates and residuals inside the convolutions, one launch a call.

    model = epcore.EfficientPose("RT").to("cuda")
    plan = CudaGraphPlan(model, batch=1)
    outputs = plan(x)               # x CuPy float32; what model(x) gives

A plan is a snapshot of the weights. It owns a private memory pool: every map lives there, places are reused within a run. A
call allocates what it returns, from the current pool, and nothing else; with `out` not even that. How layers fuse is said in
`epcore.inference.fuse`; the kernels are those of `epcore.kernels.cuda`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from epcore.backend import kernel_module
from epcore.base.arrays import Array, is_cupy, to_numpy
from epcore.graph import INPUT
from epcore.graph.schedule import finished_values
from epcore.inference.fuse import fuse
from epcore.inference.plan import Outputs, Plan, Profile, check_model, outputs_of, timings
from epcore.inference.step import Activation, Convolution, NoPlanError, Step
from epcore.inference.steps.dense import Dense
from epcore.inference.steps.depthwise import Depthwise
from epcore.inference.steps.elementwise import Activate, Add, Concat
from epcore.inference.steps.gate import Gate
from epcore.inference.steps.pointwise import Pointwise
from epcore.inference.steps.pool import Pool
from epcore.inference.steps.upscale import Upscale
from epcore.kernels.cuda import (
    add,
    avg_pool,
    bilinear,
    concat,
    conv2d,
    conv_transpose2d,
    depthwise_conv2d,
    max_pool,
    squeeze_excite,
)
from epcore.kernels.cuda.launch import activation_code
from epcore.kernels.cuda.loader import require_cupy
from epcore.network import Network
from epcore.ops.conv_transpose2d import bilinear_kernel

Values = dict[str, Array]


class _Call(NamedTuple):
    """A step, the kernels that run it, and the values that nobody needs after it."""

    step: Step
    run: Callable[[Values], Array]
    finished: list[str]


class FusedNetwork:
    """The fused layers of a network as calls of CUDA kernels, one after another: what a plan captures.

    put moves a weight to where the kernels run (cupy.asarray). Raises ValueError for operators plans do not know.
    """

    def __init__(self, model: Network, put: Callable[[np.ndarray], Array]) -> None:
        steps = fuse(model.graph, {name: to_numpy(array) for name, array in model.parameters.items()})
        self.outputs = outputs_of(model)
        self.dtype = model.dtype
        finished = finished_values([(step.output, step.reads) for step in steps])
        self.calls = [_Call(step, self._call(step, put), names) for step, names in zip(steps, finished, strict=True)]

    def __call__(self, x: Array, *, after: Callable[[], None] | None = None) -> Values:
        """Outputs by label. A map is let go after its last use, so that a memory pool can give its place to the next.

        after: called for every step, when its kernels were launched.
        """
        values: Values = {INPUT: x}
        kept = self.outputs.values()
        for call in self.calls:
            values[call.step.output] = call.run(values)
            if after is not None:
                after()
            for name in call.finished:
                if name not in kept:
                    del values[name]
        return {label: values[name] for label, name in self.outputs.items()}

    def _call(self, step: Step, put: Callable[[np.ndarray], Array]) -> Callable[[Values], Array]:
        """One step as a function of the values there are."""

        def constant(array: np.ndarray) -> Array:
            return put(np.ascontiguousarray(array, self.dtype))

        first = step.inputs[0]
        match step:
            case Add():
                return lambda values: add.forward(values[first], values[step.inputs[1]])[0]
            case Concat():
                return lambda values: concat.forward(*(values[name] for name in step.inputs))[0]
            case Pool(largest=True):
                return lambda values: max_pool.forward(values[first], size=step.size, stride=step.stride)[0]
            case Pool():
                return lambda values: avg_pool.forward(values[first], size=step.size)[0]
            case Activate():
                return self._activate(step.activation, lambda values: values[first], constant)
            case Gate():
                kind = step.activation.kind
                weights = [constant(step.reduce.T[None, None]), constant(step.reduce_bias)]
                weights += [constant(step.expand[None, None]), constant(step.expand_bias)]
                return lambda values: squeeze_excite.excitation(values[first], *weights, activation=kind)[2]
            case Convolution():
                return self._convolution(step, constant)
        raise NoPlanError(f"{step.output} ({step.operator}): CUDA plans cannot take it")

    def _convolution(self, step: Convolution, constant: Callable[[np.ndarray], Array]) -> Callable[[Values], Array]:
        first, end = step.inputs[0], step.activation
        if end.kind == "prelu":  # no kernel ends with it
            return self._activate(end, self._convolution(replace(step, activation=Activation()), constant), constant)
        b = constant(step.bias)
        code = activation_code(end.kind or None, beta=end.parameter, maximum=end.parameter)
        match step:
            case Depthwise():
                w = constant(step.weights)
                return lambda values: depthwise_conv2d.fused(values[first], w, b, stride=step.stride, activation=code)
            case Dense():
                w = constant(step.weights)
                return lambda values: conv2d.fused(values[first], w, b, stride=step.stride, activation=code)
            case Pointwise():
                w = constant(step.weights[None, None])
                return lambda values: conv2d.fused(
                    values[first],
                    w,
                    b,
                    stride=1,
                    activation=code,
                    gate=values[step.gate] if step.gate else None,
                    residual=values[step.residual] if step.residual else None,
                )
            case Upscale() if _is_bilinear(step):
                return lambda values: bilinear.forward(values[first])
            case Upscale():
                w = constant(step.weights)
                return lambda values: conv_transpose2d.forward(values[first], w, b, stride=step.stride)[0]
        raise NoPlanError(f"{step.output} ({step.operator}): CUDA plans cannot take it")

    def _activate(
        self, end: Activation, before: Callable[[Values], Array], constant: Callable[[np.ndarray], Array]
    ) -> Callable[[Values], Array]:
        """An activation by a kernel of its own."""
        module = kernel_module(end.kind, "cuda")
        if end.alpha is not None:
            alpha = constant(end.alpha)
            return lambda values: module.forward(before(values), alpha)[0]
        options: dict[str, float] = {}
        if end.kind == "eswish":
            options = {"beta": end.parameter}
        elif end.kind == "relu" and np.isfinite(end.parameter):
            options = {"maximum": end.parameter}
        return lambda values: module.forward(before(values), **options)[0]


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
        self._network_graph = model.graph
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()  # the parameters are there before they are folded
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            network = FusedNetwork(model, cupy.asarray)
            self._x = cupy.zeros(self.input_shape, np.float32)
            network(self._x)  # compiles every kernel and lets the pool grow to its size
            self._stream.synchronize()
            self._stream.begin_capture()
            try:
                self._maps = network(self._x)
            finally:
                self._graph = self._stream.end_capture()
        self._network = network  # holds the weights the graph reads
        self._lock = threading.Lock()

    @property
    def pool_bytes(self) -> int:
        """All GPU memory the plan holds: weights, input and every map."""
        return int(self._pool.total_bytes())

    def __call__(self, x: Array, *, out: Outputs | None = None) -> Outputs:
        """What the model gives for x, in new arrays of the caller's. Ordered after and before the current stream.

        x may be a NumPy array: it is copied to the GPU first. out: what an earlier call returned; its arrays are written and it
        is returned again. It is the caller's to guard. Any number of threads may call one plan. Raises TypeError or ValueError
        for any other x or out.
        """
        cupy = require_cupy()
        self._check(x)
        x = cupy.asarray(x)
        arrays: Mapping[str, Array]
        if out is None:
            # The current stream's memory: the plan's stream writes it, but it is freed and used again in the caller's order.
            arrays = {label: cupy.empty_like(maps) for label, maps in self._maps.items()}
        else:
            arrays = self._check_out(out)
        stream = cupy.cuda.get_current_stream()
        with self._lock:  # what two threads put into the plan's stream must not mingle
            self._stream.wait_event(stream.record())
            with self._stream:
                self._x[...] = x
                self._graph.launch(self._stream)
                for label, maps in self._maps.items():
                    arrays[label][...] = maps
            finished = self._stream.record()
        stream.wait_event(finished)
        return self._wrap(dict(arrays)) if out is None else out

    def profile(self, x: Array | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, one launch after the other instead of as a graph, by CUDA events."""
        cupy = require_cupy()
        x = cupy.zeros(self.input_shape, np.float32) if x is None else x
        self._check(x)
        calls = self._network.calls
        seconds = np.zeros((repeats, len(calls)))
        with self._lock, self._stream:
            self._x[...] = cupy.asarray(x)
            for run in range(repeats):
                events = [cupy.cuda.Event() for _ in range(len(calls) + 1)]
                events[0].record()
                following = iter(events[1:])

                def record(following: Iterator[Any] = following) -> None:
                    next(following).record()

                self._network(self._x, after=record)
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
        arrays = self._arrays(out, self._maps)
        for label, maps in self._maps.items():
            array = arrays[label]
            if not is_cupy(array) or array.shape != maps.shape or array.dtype != maps.dtype:
                raise ValueError(f"out: {label} is not a CuPy array, {maps.dtype} {maps.shape}")
        return arrays


def _is_bilinear(step: Upscale) -> bool:
    """Whether a transposed convolution is bilinear upscaling by two, to the bit."""
    w = step.weights
    square = w.shape[:2] == (4, 4) and w.shape[2] == w.shape[3] and step.stride == 2
    return square and not step.bias.any() and np.array_equal(w, bilinear_kernel(w.shape[2]))
