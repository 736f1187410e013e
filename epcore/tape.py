"""Autograd-lite: a tape that remembers which operators ran and walks back over them.

    tape = Tape()
    w = tape.watch(array)                       # a Tensor whose gradient is wanted
    y = tape.apply("swish", tape.apply("conv2d", x, w, stride=2))
    tape.backward(loss)
    tape.gradient(w)                            # an array like w

Every call of an operator becomes one record (operator, tensors in, tensor out, what forward saved). `backward` visits the
records last to first, so no recursion and no sorting is needed: the order of execution is already topological. A record is
dropped as soon as it has been visited, which frees what it saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from epcore.backend import Kernel, kernel
from epcore.base.arrays import Array, array_module
from epcore.ops import OPS


class Tensor:
    """A value on a tape. `data` is the array; a tensor nobody wants a gradient for is a constant."""

    __slots__ = ("data", "needs_gradient", "tape")

    def __init__(self, data: Array, tape: Tape, needs_gradient: bool) -> None:
        self.data, self.tape, self.needs_gradient = data, tape, needs_gradient

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    def __repr__(self) -> str:
        return f"Tensor(shape={self.data.shape}, dtype={self.data.dtype}, needs_gradient={self.needs_gradient})"


@dataclass(slots=True)
class Record:
    """One operator call, kept until backward has passed it."""

    op: str
    inputs: tuple[Tensor | None, ...]
    output: Tensor
    saved: tuple[Any, ...]
    attributes: dict[str, Any]
    backward: Any


class Tape:
    """Records operators run through `apply`; `backward` may be called once."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._gradients: dict[int, Array] = {}  # id of a tensor -> gradient; the tensors are kept alive in _watched
        self._watched: list[Tensor] = []
        self._retained: set[int] = set()
        self._spent = False

    def watch(self, data: Array) -> Tensor:
        """A tensor whose gradient is wanted."""
        tensor = Tensor(data, self, needs_gradient=True)
        self._watched.append(tensor)
        return tensor

    def constant(self, data: Array) -> Tensor:
        """A tensor that takes part but whose gradient is not wanted."""
        return Tensor(data, self, needs_gradient=False)

    def retain(self, tensor: Tensor) -> None:
        """Keep the gradient of a value in the middle readable after backward, as a watched tensor's is."""
        self._watched.append(tensor)
        self._retained.add(id(tensor))

    def apply(self, op: str, *inputs: Tensor | Array | None, **attributes: Any) -> Tensor:
        """Run an operator on tensors (plain arrays count as constants) and remember it.

        Raises RuntimeError once the tape is spent, ValueError for a tensor of another tape.
        """
        output, _ = self.apply_with_saved(op, *inputs, **attributes)
        return output

    def apply_with_saved(self, op: str, *inputs: Tensor | Array | None, **attributes: Any) -> tuple[Tensor, tuple[Any, ...]]:
        """As `apply`, and what forward saved as well (batch statistics, for the running ones)."""
        if self._spent:
            raise RuntimeError("this tape has already been walked back: record the next step on a new Tape()")
        inputs += (None,) * ((OPS[op].arity or 0) - len(inputs))  # backward answers for optional arrays too
        tensors = tuple(x if x is None or isinstance(x, Tensor) else self.constant(x) for x in inputs)
        for tensor in tensors:
            if tensor is not None and tensor.tape is not self:
                raise ValueError(f"{op}: an input belongs to another tape")
        arrays = [None if tensor is None else tensor.data for tensor in tensors]
        forward, backward = self.kernel(op, arrays, attributes)
        data, saved = forward(*arrays, **attributes)
        needs_gradient = any(tensor is not None and tensor.needs_gradient for tensor in tensors)
        output = Tensor(data, self, needs_gradient)
        if needs_gradient:
            self._records.append(Record(op, tensors, output, saved, attributes, backward))
        return output, saved

    def kernel(self, op: str, arrays: list[Array | None], attributes: dict[str, Any]) -> Kernel:
        """(forward, backward) that this tape runs an operator with; a tape that replaces or watches some overrides it."""
        return kernel(op, *arrays)

    def backward(self, loss: Tensor, dloss: Array | None = None) -> None:
        """Gradients of `loss` with respect to every watched tensor.

        `loss` must be a scalar unless `dloss`, the gradient that flows into it, is given. Raises RuntimeError on a second
        call and ValueError for a loss that nothing watched leads to.
        """
        if self._spent:
            raise RuntimeError("backward was already called on this tape: what it saved is gone, record a new one")
        if not loss.needs_gradient or loss.tape is not self:
            raise ValueError("the loss does not depend on any watched tensor of this tape")
        if dloss is None:
            if loss.data.size != 1:
                raise ValueError(f"the loss has shape {loss.shape}: give dloss, or reduce it to a scalar")
            dloss = array_module(loss.data).ones_like(loss.data)
        elif dloss.shape != loss.shape:
            raise ValueError(f"dloss has shape {dloss.shape}, expected {loss.shape}")
        self._spent = True
        self._gradients[id(loss)] = dloss
        while self._records:
            self._step_back(self._records.pop())

    def _step_back(self, record: Record) -> None:
        take = self._gradients.get if id(record.output) in self._retained else self._gradients.pop
        dy = take(id(record.output), None)
        if dy is None:  # this output did not contribute to the loss
            return
        wanted = tuple(tensor is not None and tensor.needs_gradient for tensor in record.inputs)
        needs = {"needs": wanted} if OPS[record.op].selective else {}
        gradients = record.backward(dy, record.saved, **record.attributes, **needs)
        for tensor, gradient, want in zip(record.inputs, gradients, wanted, strict=True):
            if tensor is None or gradient is None or not want:
                continue
            earlier = self._gradients.get(id(tensor))
            # A fresh array: operators may hand the same gradient to two inputs, so it is never added to in place.
            self._gradients[id(tensor)] = gradient if earlier is None else earlier + gradient

    def gradient(self, tensor: Tensor) -> Array | None:
        """The gradient of a watched or retained tensor after `backward`; None where the loss does not depend on it."""
        if not self._spent:
            raise RuntimeError("call backward first")
        return self._gradients.get(id(tensor))
