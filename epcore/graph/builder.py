"""Writing a graph node by node: the operators' parameters, their shapes and how they start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from epcore.graph.graph import INPUT, Graph, Node, Parameter
from epcore.ops.batch_norm import EPSILON
from epcore.shapes import Shape


class GraphBuilder:
    """Writes a graph node by node. Every method returns the name of the node it added, to be passed on as an input."""

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = input_shape
        self.nodes: dict[str, Node] = {}
        self.parameters: dict[str, Parameter] = {}
        self.channels: dict[str, int] = {INPUT: input_shape[2]}
        self.stage = ""

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        return Graph(self.input_shape, self.nodes, self.parameters, dict(outputs))

    def node(
        self,
        name: str,
        op: str,
        inputs: Iterable[str],
        channels: int,
        parameters: Mapping[str, Parameter | None] | None = None,
        **attributes: Any,
    ) -> str:
        if name in self.nodes:
            raise ValueError(f"two nodes are called {name!r}")
        arrays = {key: value for key, value in (parameters or {}).items() if value is not None}
        keys = tuple(key if value is not None else None for key, value in (parameters or {}).items())
        self.parameters.update(arrays)
        self.nodes[name] = Node(name, op, tuple(inputs), keys, attributes, self.stage)
        self.channels[name] = channels
        return name

    def conv2d(
        self, name: str, x: str, channels: int, *, kernel: int = 1, stride: int = 1, bias: bool = False, init: str = "he"
    ) -> str:
        parameters = {
            f"{name}/kernel": Parameter((kernel, kernel, self.channels[x], channels), init),
            f"{name}/bias": Parameter((channels,), "zeros") if bias else None,
        }
        return self.node(name, "conv2d", [x], channels, parameters, stride=stride)

    def depthwise_conv2d(self, name: str, x: str, *, kernel: int, stride: int = 1) -> str:
        C = self.channels[x]
        parameters = {f"{name}/kernel": Parameter((kernel, kernel, C), "he_depthwise")}
        return self.node(name, "depthwise_conv2d", [x], C, parameters, stride=stride)

    def conv_transpose2d(self, name: str, x: str, channels: int, *, kernel: int = 4, stride: int = 2) -> str:
        parameters = {
            f"{name}/kernel": Parameter((kernel, kernel, channels, self.channels[x]), "bilinear"),
            f"{name}/bias": Parameter((channels,), "zeros"),
        }
        return self.node(name, "conv_transpose2d", [x], channels, parameters, stride=stride)

    def batch_norm(self, name: str, x: str) -> str:
        C = self.channels[x]
        parameters = {
            f"{name}/gamma": Parameter((C,), "ones"),
            f"{name}/beta": Parameter((C,), "zeros"),
            f"{name}/moving_mean": Parameter((C,), "zeros", trainable=False),
            f"{name}/moving_variance": Parameter((C,), "ones", trainable=False),
        }
        return self.node(name, "batch_norm", [x], C, parameters, epsilon=EPSILON)

    def squeeze_excite(self, name: str, x: str, *, reduced: int, activation: str) -> str:
        C = self.channels[x]
        parameters = {
            f"{name}_reduce/kernel": Parameter((1, 1, C, reduced), "he"),
            f"{name}_reduce/bias": Parameter((reduced,), "zeros"),
            f"{name}_expand/kernel": Parameter((1, 1, reduced, C), "he"),
            f"{name}_expand/bias": Parameter((C,), "zeros"),
        }
        return self.node(name, "squeeze_excite", [x], C, parameters, activation=activation)

    def activation(self, name: str, x: str, kind: str, **attributes: Any) -> str:
        """kind: an elementwise operator without parameters: swish, eswish, sigmoid, relu."""
        return self.node(name, kind, [x], self.channels[x], **attributes)

    def prelu(self, name: str, x: str) -> str:
        C = self.channels[x]
        return self.node(name, "prelu", [x], C, {f"{name}/alpha": Parameter((C,), "prelu")})

    def max_pool(self, name: str, x: str, *, size: int = 2, stride: int = 2) -> str:
        return self.node(name, "max_pool", [x], self.channels[x], size=size, stride=stride)

    def avg_pool(self, name: str, x: str, *, size: int = 2) -> str:
        return self.node(name, "avg_pool", [x], self.channels[x], size=size)

    def drop_connect(self, name: str, x: str, *, rate: float) -> str:
        return self.node(name, "drop_connect", [x], self.channels[x], rate=rate)

    def add(self, name: str, a: str, b: str) -> str:
        return self.node(name, "add", [a, b], self.channels[a])

    def concat(self, name: str, *xs: str) -> str:
        return self.node(name, "concat", xs, sum(self.channels[x] for x in xs))
