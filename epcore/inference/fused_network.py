"""The fused layers of a network as calls of CUDA kernels, one after another: what a `CudaGraphPlan` captures.

How layers fuse is said in `epcore.inference.fuse`; the kernels are those of `epcore.kernels.cuda`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from epcore.backend import kernel_module
from epcore.base.arrays import Array, to_numpy
from epcore.graph import INPUT
from epcore.graph.schedule import finished_values
from epcore.inference.fuse import fuse
from epcore.inference.plan import outputs_of
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


def _is_bilinear(step: Upscale) -> bool:
    """Whether a transposed convolution is bilinear upscaling by two, to the bit."""
    w = step.weights
    square = w.shape[:2] == (4, 4) and w.shape[2] == w.shape[3] and step.stride == 2
    return square and not step.bias.any() and np.array_equal(w, bilinear_kernel(w.shape[2]))
