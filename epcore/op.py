"""The operator record. One operator is four plain functions in one file of `epcore/ops`, gathered in an `Op`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from itertools import product
from textwrap import dedent
from typing import Any, NamedTuple

from epcore.shapes import Shape, Window


@dataclass(frozen=True)
class Page:
    """What an operator's file says about it: a title and the sections, in this order, each without its indentation.

    In the docstring a section is a line with its name and a colon, and indented text below it.
    """

    title: str
    equation: str
    symbols: str
    derivation: str
    saved: str  # the first line: what, by name
    cost: str
    source: str


def read_page(docstring: str) -> Page:
    """Raises ValueError where a section is missing, empty, unknown or not in its place."""
    title, *parts = re.split(r"^(\w+):\n", docstring.strip() + "\n", flags=re.MULTILINE)
    names, texts = [name.lower() for name in parts[::2]], [dedent(text).strip() for text in parts[1::2]]
    expected = [section.name for section in fields(Page)][1:]
    if names != expected:
        raise ValueError(f"sections {', '.join(names)}: expected {', '.join(expected)}")
    for name, text in zip(["title", *names], [title.strip(), *texts], strict=True):
        if not text:
            raise ValueError(f"{name} is empty")
    return Page(title.strip(), *texts)


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


class Kept(NamedTuple):
    """One array that forward keeps for backward. itemsize: bytes an element, None for that of x."""

    shape: Shape
    itemsize: int | None = None


class KernelAxes(NamedTuple):
    """Axes of a kernel: which counts the channels of x, which those of y. One and the same where channels do not meet."""

    x: int
    y: int

    @property
    def depthwise(self) -> bool:
        return self.x == self.y


class Step(NamedTuple):
    """One operator of those that together are another one: `name` = op(*inputs).

    name: "y" for the last. inputs: names of the arrays that forward takes, and of earlier steps.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = {}


def _keeps_nothing(*shapes: Shape | None, **attributes: Any) -> tuple[Kept, ...]:
    return ()


def _no_window(*shapes: Shape | None, **attributes: Any) -> Window | None:
    return None


def _no_steps(**attributes: Any) -> tuple[Step, ...]:
    return ()


@dataclass(frozen=True)
class Op:
    """One operator.

    forward(*arrays, **attributes) -> (y, saved): `saved` is what backward needs and nothing that is cheap to recompute.
    backward(dy, saved, **attributes) -> one gradient, or None, for every array forward took.
    output_shape(*shapes, **attributes) -> shape; raises ValueError where the shapes do not fit.
    cost(*shapes, **attributes) -> Cost.
    selective: backward takes `needs`, a tuple of booleans, and leaves out gradients nobody wants.

    What others have to know of an operator, so that none of them has to ask for its name:

    data: names of the inputs that are data or state, whose gradient is None.
    identity_at_inference: at inference y is x, and the operator is left out. In training it takes a mask (N,1,1,1) besides its
        inputs, which whoever runs it draws.
    batch_statistics: takes x, gamma, beta, running mean and variance; forward and backward take `training`: x's own mean and
        variance, which forward saves in the places 2 and 3, or the running ones.
    exponential: element by element, with an exponential in it that overflows or saturates for large x.
    kinks: values of x at which y has no derivative. ties: nor has it where elements of x are equal.
    operations: what one element of the kind that has the operator's name in `cost` is in arithmetic operations, forward and
        backward (an exponential, a division, a comparison are one each); None where there is no such kind.
    kernel_axes: of the kernel w, the first array after x; y is linear in w and x. None without a kernel.
    averages_map: y is the mean of x over rows and columns, (N,1,1,C).
    keeps(*shapes, **attributes) -> what forward saves besides its arguments and y.
    window(*shapes, **attributes) -> the windows through which y reads x, None where there are none.
    spread(*shapes, **attributes) -> the windows of y that pixels of x are added to, None where there are none.
    steps(**attributes) -> simpler operators that give the same, none for an operator that is simple itself.
    onnx: the ONNX operator of the same meaning, which takes the same arrays in the same order; None where there is none.
    """

    name: str
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]]
    output_shape: Callable[..., tuple[int, ...]]
    cost: Callable[..., Cost]
    selective: bool = False
    data: tuple[str, ...] = ()
    identity_at_inference: bool = False
    batch_statistics: bool = False
    exponential: bool = False
    kinks: tuple[float, ...] = ()
    ties: bool = False
    operations: tuple[int, int] | None = None
    kernel_axes: KernelAxes | None = None
    averages_map: bool = False
    keeps: Callable[..., tuple[Kept, ...]] = _keeps_nothing
    window: Callable[..., Window | None] = _no_window
    spread: Callable[..., Window | None] = _no_window
    steps: Callable[..., tuple[Step, ...]] = _no_steps
    onnx: str | None = None

    @property
    def kinked(self) -> bool:
        """Has points without a derivative."""
        return bool(self.kinks) or self.ties

    @property
    def page(self) -> Page:
        """The page of the file that forward stands in. Raises ValueError where that has none, or one that is not in order."""
        docstring = sys.modules[self.forward.__module__].__doc__
        if docstring is None:
            raise ValueError(f"page of {self.name}: its file has no docstring, as under python -OO")
        try:
            return read_page(docstring)
        except ValueError as error:
            raise ValueError(f"page of {self.name}: {error}") from None

    def array_names(self, count: int) -> list[str]:
        """Names of the arrays forward takes; `count` of them where it takes any number."""
        parameters = signature(self.forward).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
        return named[:count] if named else [f"xs[{i}]" for i in range(count)]

    def differentiable(self, count: int) -> tuple[int, ...]:
        """Positions of the inputs that have a gradient; `count` as in `array_names`."""
        return tuple(i for i, name in enumerate(self.array_names(count)) if name not in self.data)

    def fitting_shapes(self, x: Shape) -> tuple[Shape | None, ...]:
        """Shapes of all arrays forward takes beside an x of this shape: none where it may be left out, else as x or one value a
        channel, the first that `output_shape` takes with all attributes at their defaults. Two where it takes any number.

        Raises ValueError where nothing of the kind fits: such an operator has to say itself what it is tried on.
        """
        parameters = [p for p in signature(self.forward).parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
        others: list[tuple[Shape | None, ...]] = [(None,) if p.default is None else (x, x[-1:]) for p in parameters[1:]]
        for shapes in product((x,), *(others if parameters else [(x,)])):
            try:
                self.output_shape(*shapes)
            except (TypeError, ValueError):  # TypeError: an attribute without a default
                continue
            return shapes
        raise ValueError(f"{self.name}: there is no telling what it takes beside x {x}")

    @property
    def arity(self) -> int | None:
        """How many arrays forward takes, optional ones included; None for any number."""
        kinds = [parameter.kind for parameter in signature(self.forward).parameters.values()]
        if Parameter.VAR_POSITIONAL in kinds:
            return None
        return kinds.count(Parameter.POSITIONAL_OR_KEYWORD)
