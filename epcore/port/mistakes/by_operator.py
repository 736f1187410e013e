"""Which mistakes are tried in a layer, by its operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from epcore.ops import OPS
from epcore.port.mistakes.activations import known, other_activations, prelu, squeeze_excite
from epcore.port.mistakes.convolutions import convolution, transposed_convolution
from epcore.port.mistakes.joining import add, avg_pool, concat, max_pool
from epcore.port.mistakes.mistake import Mistake
from epcore.port.mistakes.normalisation import batch_norm, drop_connect
from epcore.shapes import Shape

# Each is called with the shapes of the arrays that a layer takes (None where it takes none) and the layer's attributes.
_BY_OPERATOR: dict[str, Callable[[list[Shape | None], dict[str, Any]], Iterator[Mistake]]] = {
    "conv2d": convolution("conv2d"),
    "depthwise_conv2d": convolution("depthwise_conv2d"),
    "conv_transpose2d": transposed_convolution,
    "batch_norm": batch_norm,
    "prelu": prelu,
    "squeeze_excite": squeeze_excite,
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "add": add,
    "concat": concat,
    "drop_connect": drop_connect,
}


def mistakes(op: str, shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """All that could be made in a layer: shapes of the arrays it takes, its attributes. None that change nothing there."""
    x = shapes[0]
    if op in _BY_OPERATOR:
        yield from _BY_OPERATOR[op](shapes, attributes)
    elif OPS[op].arity == 1 and OPS[op].window(x, **attributes) is None and OPS[op].output_shape(x, **attributes) == x:
        yield from other_activations(known(op, attributes))  # element by element
