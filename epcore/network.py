"""A graph with its parameters: runs forward, is recorded on a tape for training, switches between training and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np

from epcore.backend import kernel
from epcore.base.arrays import Array, array_module, require_finite, to_numpy
from epcore.graph import INPUT, Graph, Node
from epcore.graph.schedule import schedule, walk
from epcore.graph.stages import summarize
from epcore.initializers import initialize
from epcore.ops import OPS
from epcore.ops.batch_norm import MOMENTUM, update_running
from epcore.shapes import Shape
from epcore.tape import Tape, Tensor

Saved: TypeAlias = tuple[Any, ...]  # what an operator's forward keeps for its backward
Value = TypeVar("Value", Array, Tensor)  # what flows through a network: arrays, or tensors of a tape
Call: TypeAlias = Callable[[str, list[Any], dict[str, Any]], tuple[Value, Saved]]  # (operator, arguments, attributes)


class Network:
    """Parameters and running statistics of one graph.

    graph: what is computed. parameters: name -> array, in the graph's order; replace or assign them freely.
    training: False after construction; `train()` and `eval()` switch batch norm and drop-connect, as in Keras.
    resolution: side of the input the graph was made for, or (height, width), pixels. preprocessing: how pixels become x, see
    `epcore.pose.normalize`. momentum: of batch norm's running statistics.
    """

    preprocessing = "imagenet"

    def __init__(self, graph: Graph, name: str, *, seed: int = 0) -> None:
        self.graph = graph
        self.name = name
        height, width = graph.input_shape[:2]
        self.resolution: int | tuple[int, int] = height if height == width else (height, width)
        self.training = False
        self.momentum = MOMENTUM
        rng = np.random.default_rng(seed)
        self.parameters: dict[str, Array] = {key: initialize(spec, rng) for key, spec in graph.parameters.items()}
        self._frozen: tuple[str, ...] = ()
        self.drop_connect = True  # in training; False leaves every branch in
        self._drop_rng = np.random.default_rng(seed)
        self._shard = (0, 1)

    @property
    def graph(self) -> Graph:
        """What is computed. A graph that is assigned is run from then on; it has to have the same parameters."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._graph = graph
        self._schedule = schedule(graph.nodes.values())
        self._checked: set[Shape] = set()  # shapes of x that go through it

    # ---- state -------------------------------------------------------------------------------------------------------

    def train(self) -> Self:
        """Batch statistics and drop-connect from now on; running statistics follow."""
        self.training = True
        return self

    def eval(self) -> Self:
        """Running statistics, no drop-connect."""
        self.training = False
        return self

    def freeze(self, *prefixes: str) -> Self:
        """Leave out of training every parameter whose name starts with one of these ("high.", "upscale").

        Frozen batch norms use their running statistics also in training, as Keras does with `trainable = False`.
        Raises ValueError for a prefix that fits nothing.
        """
        for prefix in prefixes:
            if not any(name.startswith(prefix) for name in self.parameters):
                raise ValueError(f"nothing to freeze: no parameter of {self.name} starts with {prefix!r}")
        self._frozen += prefixes
        return self

    def unfreeze(self) -> Self:
        """Train everything again."""
        self._frozen = ()
        return self

    def is_frozen(self, name: str) -> bool:
        """Whether a node or parameter belongs to a frozen part."""
        return name.startswith(self._frozen) if self._frozen else False

    def trainable(self) -> list[str]:
        """Names of the parameters that a training step changes."""
        return [name for name, spec in self.graph.parameters.items() if spec.trainable and not self.is_frozen(name)]

    @property
    def any_parameter(self) -> Array:
        """One of them, for what all share: the device and the dtype. Raises ValueError for a network without parameters."""
        for array in self.parameters.values():
            return array
        raise ValueError(f"{self.name} has no parameters: there is nothing that says of what dtype it is")

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.any_parameter.dtype

    def astype(self, dtype: Any) -> Self:
        """Convert every parameter, in place. float64 is for gradient checks and golden values."""
        self.parameters = {name: array.astype(dtype) for name, array in self.parameters.items()}
        return self

    def to(self, device: str) -> Self:
        """Move every parameter to "cuda" (CuPy arrays) or "cpu" (NumPy arrays), in place."""
        if device == "cuda":
            from epcore.kernels.cuda.loader import require_cupy

            move: Callable[[Array], Array] = require_cupy().asarray
        elif device == "cpu":
            move = to_numpy
        else:
            raise ValueError(f"unknown device {device!r}: expected 'cpu' or 'cuda'")
        self.parameters = {name: move(array) for name, array in self.parameters.items()}
        return self

    @property
    def parameter_count(self) -> int:
        """Elements of all arrays, moving statistics and frozen kernels included."""
        return sum(prod(spec.shape) for spec in self.graph.parameters.values())

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(self, x: Array, *, capture: Iterable[str] = ()) -> dict[str, Array]:
        """All outputs by label, and the outputs of the nodes named in `capture` by node name.

        x: (N,H,W,C) of the network's dtype; H and W may differ from the graph's as long as the branches still meet.
        Raises TypeError or ValueError, naming what is wrong, for any other x.
        """
        self.check_input(x)

        def call(op: str, arguments: list[Any], attributes: dict[str, Any]) -> tuple[Array, Saved]:
            y, saved = kernel(op, *arguments)[0](*arguments, **attributes)
            return y, saved

        return self._walk(x, call, self.parameters, capture)

    def record(
        self, x: Array | Tensor, tape: Tape, *, capture: Iterable[str] = ()
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Run on a tape: (outputs by label and the nodes named in `capture` by node name, the watched tensors of the
        trainable parameters by name). x may be a tensor of the tape, to get its gradient too.
        """
        self.check_input(x.data if isinstance(x, Tensor) else x)
        watched = {name: tape.watch(self.parameters[name]) for name in self.trainable()}
        tensors = {name: watched.get(name) or tape.constant(array) for name, array in self.parameters.items()}

        def call(op: str, arguments: list[Any], attributes: dict[str, Any]) -> tuple[Tensor, Saved]:
            return tape.apply_with_saved(op, *arguments, **attributes)

        start = x if isinstance(x, Tensor) else tape.constant(x)
        return self._walk(start, call, tensors, capture), watched

    def __call__(self, x: Array) -> Any:
        return self.run(x)

    def _walk(self, x: Value, call: Call[Value], parameters: Mapping[str, Value], capture: Iterable[str]) -> dict[str, Value]:
        """Visit the nodes in order; a value is let go after its last use."""
        kept = set(capture)
        if unknown := kept - self.graph.nodes.keys():
            raise ValueError(f"{self.name} has no layer {sorted(unknown)[0]!r}")
        kept |= set(self.graph.outputs.values())
        values = walk(
            self._schedule, {INPUT: x}, lambda node, arguments: self._visit(node, arguments, call, parameters), keep=kept
        )
        outputs = {label: values[name] for label, name in self.graph.outputs.items()}
        return outputs | {name: values[name] for name in capture}

    def _visit(self, node: Node, arguments: list[Any], call: Call[Value], parameters: Mapping[str, Value]) -> Value:
        """One node's output; batch norm and drop-connect behave by mode, as in Keras."""
        training = self.training and not self.is_frozen(node.name)
        attributes, batch_statistics = dict(node.attributes), OPS[node.op].batch_statistics
        if node.identity_at_inference and not (training and self.drop_connect):
            same: Value = arguments[0]
            return same
        if node.identity_at_inference:
            arguments.append(self._drop_mask(arguments[0], node))
        elif batch_statistics:
            attributes["training"] = training
        arguments += [None if name is None else parameters[name] for name in node.parameters]
        y, saved = call(node.op, arguments, attributes)
        if batch_statistics and training:
            self._update_running_statistics(node, *saved[2:4])
        return y

    def _drop_mask(self, x: Any, node: Node) -> Array:
        data = x.data if isinstance(x, Tensor) else x
        N, (rank, ranks) = data.shape[0], self._shard
        keep = self._drop_rng.random(N * ranks)[N * rank : N * (rank + 1)] >= node.attributes["rate"]
        mask: Array = array_module(data).asarray(keep.reshape(-1, 1, 1, 1), dtype=data.dtype)
        return mask

    def seed_drop_connect(self, seed: int | list[int], *, shard: tuple[int, int] = (0, 1)) -> None:
        """Fix the drop-connect masks to come (resuming a training bit for bit).

        shard: (rank, ranks) if this process has only its part of every batch; all parts are of one size.
        """
        self._drop_rng, self._shard = np.random.default_rng(seed), shard

    def _update_running_statistics(self, node: Node, mean: Array, variance: Array) -> None:
        """mean, variance (C,): of one training batch, as this node saw it."""
        for name, batch in zip(node.parameters[2:4], (mean, variance), strict=True):
            assert name is not None
            self.parameters[name] = update_running(self.parameters[name], batch, self.momentum)

    def check_input(self, x: Array) -> None:
        """Raises TypeError or ValueError, naming what was expected and what came, unless x can be run."""
        array_module(x)  # raises TypeError for lists and the like
        C = self.graph.input_shape[2]
        if x.dtype != self.dtype:
            raise TypeError(f"x has dtype {x.dtype}, expected {self.dtype} as the parameters of {self.name}")
        if x.ndim != 4 or x.shape[3] != C:
            raise ValueError(f"x has shape {x.shape}, expected (N, height, width, {C})")
        if 0 in x.shape:
            raise ValueError(f"x has shape {x.shape}: the batch is empty" if x.shape[0] == 0 else f"x is empty: {x.shape}")
        if x.shape not in self._checked:
            try:
                self.graph.shapes(x.shape[0], x.shape[1:])
            except ValueError as error:
                raise ValueError(f"x of {x.shape[1]}x{x.shape[2]} does not go through {self.name}: {error}") from None
            self._checked.add(x.shape)
        require_finite(x, "x")

    def __repr__(self) -> str:
        return summarize(self.name, self.graph)
