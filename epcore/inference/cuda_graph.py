"""A network as one CUDA graph: batch norms folded, activations, gates and residuals inside the convolutions, one launch a call.

    model = epcore.EfficientPose("RT").to("cuda")
    plan = CudaGraphPlan(model, batch=1)
    outputs = plan(x)               # x CuPy float32; what model(x) gives

A plan is a snapshot of the weights. It owns a private memory pool: every map lives there, places are reused within a run. A
call allocates what it returns, from the current pool, and nothing else; with `out` not even that. How layers fuse is said in
`epcore.inference.fold`; the kernels are those of `epcore.kernels.cuda`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from epcore.backend import Array, is_cupy, to_numpy
from epcore.graph import INPUT
from epcore.graph.passes import at_inference
from epcore.graph.schedule import finished_values
from epcore.inference.fold import Layer, fold
from epcore.kernels.cuda import add, avg_pool, bilinear, concat, conv2d, conv_transpose2d, depthwise_conv2d, squeeze_excite
from epcore.kernels.cuda.launch import LINEAR, activation_code
from epcore.kernels.cuda.loader import require_cupy
from epcore.models.efficientpose import EfficientPose, PoseOutputs
from epcore.network import Network
from epcore.not_numbers import Source
from epcore.ops.conv_transpose2d import bilinear_kernel

Values = dict[str, Array]


class FusedNetwork:
    """The fused layers of a network as calls of CUDA kernels, one after another: what a plan captures.

    put moves a weight to where the kernels run (cupy.asarray). Raises ValueError for operators plans do not know.
    """

    def __init__(self, model: Network, put: Callable[[np.ndarray], Array]) -> None:
        parameters = {name: to_numpy(array) for name, array in model.parameters.items()}
        layers = fold(model.graph, parameters)
        self.outputs = dict(at_inference(model.graph).outputs)
        self.dtype = model.dtype
        finished = finished_values([(layer.output, layer.reads) for layer in layers])
        self._steps = [(layer.output, self._step(layer, put), names) for layer, names in zip(layers, finished, strict=True)]

    def __call__(self, x: Array) -> Values:
        """Outputs by label. A map is let go after its last use, so that a memory pool can give its place to the next."""
        values: Values = {INPUT: x}
        kept = self.outputs.values()
        for output, step, finished in self._steps:
            values[output] = step(values)
            for name in finished:
                if name not in kept:
                    del values[name]
        return {label: values[name] for label, name in self.outputs.items()}

    def _step(self, layer: Layer, put: Callable[[np.ndarray], Array]) -> Callable[[Values], Array]:
        """One layer as a function of the values there are."""

        def constant(array: np.ndarray) -> Array:
            return put(np.ascontiguousarray(array, self.dtype))

        first = layer.inputs[0]
        match layer.op:
            case "add":
                return lambda values: add.forward(values[first], values[layer.inputs[1]])[0]
            case "concat":
                return lambda values: concat.forward(*(values[name] for name in layer.inputs))[0]
            case "avg_pool":
                return lambda values: avg_pool.forward(values[first], size=2)[0]
            case "gate":
                assert layer.gate is not None
                gate, kind = layer.gate, layer.gate.activation
                weights = [constant(gate.reduce.T[None, None]), constant(gate.reduce_bias)]
                weights += [constant(gate.expand[None, None]), constant(gate.expand_bias)]
                return lambda values: squeeze_excite.excitation(values[first], *weights, activation=kind)[2]
        assert layer.weights is not None
        assert layer.bias is not None
        w, b = constant(layer.weights), constant(layer.bias)
        code = activation_code(layer.activation or None, beta=layer.factor, maximum=layer.factor)
        match layer.op:
            case "depthwise_conv2d":
                return lambda values: depthwise_conv2d.fused(values[first], w, b, stride=layer.stride, activation=code)
            case "conv2d":
                return lambda values: conv2d.fused(
                    values[first],
                    w,
                    b,
                    stride=layer.stride,
                    activation=code,
                    gate=values[layer.gated] if layer.gated else None,
                    residual=values[layer.residual] if layer.residual else None,
                )
            case "conv_transpose2d" if code == LINEAR and _is_bilinear(layer):
                return lambda values: bilinear.forward(values[first])
            case "conv_transpose2d" if code == LINEAR:
                return lambda values: conv_transpose2d.forward(values[first], w, b, stride=layer.stride)[0]
        raise ValueError(f"{layer.output} ({layer.op} with {layer.activation or 'no activation'}): plans cannot take it")


class CudaGraphPlan:
    """A network of one input shape, captured in a CUDA graph on a GPU.

    batch, resolution (side, or (height, width); the model's own by default), preprocessing: of the x it takes.
    Raises RuntimeError without a GPU, TypeError for parameters that are not float32, ValueError for a model in training mode or
    one plans do not know.
    """

    def __init__(self, model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None) -> None:
        cupy = require_cupy()
        if model.training:
            raise ValueError("the model is in training mode: call model.eval() first, plans use running statistics")
        if model.dtype != np.float32:
            raise TypeError(f"CudaGraphPlan takes float32 parameters, {model.name} has {model.dtype}")
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ValueError(f"batch is {batch!r}, expected a whole number above 0")
        size = model.graph.input_shape[:2] if resolution is None else resolution
        height, width = (size, size) if isinstance(size, int) else size
        self.resolution = height if height == width else (height, width)
        self.preprocessing = getattr(model, "preprocessing", "imagenet")
        self._pose = isinstance(model, EfficientPose)
        self.source = Source.of(model, "cuda")  # asked only where maps are not numbers
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()  # the parameters are there before they are folded
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            network = FusedNetwork(model, cupy.asarray)
            self._x = cupy.zeros((batch, height, width, model.graph.input_shape[2]), np.float32)
            network(self._x)  # compiles every kernel and lets the pool grow to its size
            self._stream.synchronize()
            self._stream.begin_capture()
            try:
                self._outputs = network(self._x)
            finally:
                self._graph = self._stream.end_capture()
        self._network = network  # holds the weights the graph reads
        self._lock = threading.Lock()

    @property
    def pool_bytes(self) -> int:
        """All GPU memory the plan holds: weights, input and every map."""
        return self._pool.total_bytes()

    def __call__(self, x: Array, *, out: Any = None) -> Any:
        """What the model gives for x, in new arrays of the caller's. Ordered after and before the current stream.

        x may be a NumPy array: it is copied to the GPU first. out: what an earlier call returned; its arrays are written and it
        is returned again. It is the caller's to guard. Any number of threads may call one plan. Raises TypeError or ValueError
        for any other x or out.
        """
        cupy = require_cupy()
        if not (is_cupy(x) or isinstance(x, np.ndarray)):
            raise TypeError(f"x is a {type(x).__name__}, a CUDA graph takes CuPy or NumPy arrays")
        if x.shape != self._x.shape or x.dtype != self._x.dtype:
            raise ValueError(f"x is {x.dtype} {x.shape}, this plan takes {self._x.dtype} {self._x.shape}")
        x = cupy.asarray(x)
        if out is None:
            # The current stream's memory: the plan's stream writes it, but it is freed and used again in the caller's order.
            arrays = {label: cupy.empty_like(maps) for label, maps in self._outputs.items()}
        else:
            arrays = self._check_out(out)
        stream = cupy.cuda.get_current_stream()
        with self._lock:  # what two threads put into the plan's stream must not mingle
            self._stream.wait_event(stream.record())
            with self._stream:
                self._x[...] = x
                self._graph.launch(self._stream)
                for label, maps in self._outputs.items():
                    arrays[label][...] = maps
            finished = self._stream.record()
        stream.wait_event(finished)
        if out is not None:
            return out
        return PoseOutputs.of(arrays) if self._pose else arrays

    def _check_out(self, out: Any) -> Values:
        kind = PoseOutputs if self._pose else dict
        if not isinstance(out, kind):
            raise TypeError(f"out is a {type(out).__name__}, expected the {kind.__name__} that an earlier call returned")
        arrays: Values = out.by_label() if isinstance(out, PoseOutputs) else out
        if arrays.keys() != self._outputs.keys():
            raise ValueError(f"out has {', '.join(map(str, arrays)) or 'nothing'}, expected {', '.join(self._outputs)}")
        for label, maps in self._outputs.items():
            array = arrays[label]
            if not is_cupy(array) or array.shape != maps.shape or array.dtype != maps.dtype:
                raise ValueError(f"out: {label} is not a CuPy array, {maps.dtype} {maps.shape}")
        return arrays


def _is_bilinear(layer: Layer) -> bool:
    """Whether a transposed convolution is bilinear upscaling by two, to the bit."""
    w, b = layer.weights, layer.bias
    assert w is not None
    assert b is not None
    square = w.shape[:2] == (4, 4) and w.shape[2] == w.shape[3] and layer.stride == 2
    return square and not b.any() and np.array_equal(w, bilinear_kernel(w.shape[2]))
