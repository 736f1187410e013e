"""The operator record. One operator is four plain functions in one file of `epcore/ops`, gathered in an `Op`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Exact work of one operator call, in integers.

    macs: multiply-accumulates of products and convolutions, forward.
    elementwise: kind -> number of elements an elementwise step touches, forward. What one element of a kind is worth in
        FLOPs is the business of a counting convention (`epcore.audit.conventions`).
    backward_macs, backward_elementwise: the same for the backward pass with every gradient wanted.
    """

    macs: int = 0
    elementwise: Mapping[str, int] = field(default_factory=dict)
    backward_macs: int = 0
    backward_elementwise: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Op:
    """One operator.

    forward(*arrays, **attributes) -> (y, saved): `saved` is what backward needs and nothing that is cheap to recompute.
    backward(dy, saved, **attributes) -> one gradient, or None, for every array forward took.
    output_shape(*shapes, **attributes) -> shape; raises ValueError where the shapes do not fit.
    cost(*shapes, **attributes) -> Cost.
    selective: backward takes `needs`, a tuple of booleans, and leaves out gradients nobody wants.
    """

    name: str
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]]
    output_shape: Callable[..., tuple[int, ...]]
    cost: Callable[..., Cost]
    selective: bool = False

    def array_names(self, count: int) -> list[str]:
        """Names of the arrays forward takes; `count` of them where it takes any number."""
        parameters = signature(self.forward).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
        return named[:count] if named else [f"xs[{i}]" for i in range(count)]

    @property
    def arity(self) -> int | None:
        """How many arrays forward takes, optional ones included; None for any number."""
        kinds = [parameter.kind for parameter in signature(self.forward).parameters.values()]
        if Parameter.VAR_POSITIONAL in kinds:
            return None
        return kinds.count(Parameter.POSITIONAL_OR_KEYWORD)
