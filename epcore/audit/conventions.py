"""What counts as how many FLOPs. Everybody counts differently; here every convention in use is written down.

Each operator states its exact work in `Cost`: multiply-accumulates (MACs), and elementwise steps as kind -> number of elements.
A convention prices them. All counts are integers.

* `macs`         multiply-accumulates of convolutions and products, nothing else (what most papers call FLOPs or MAdds)
* `flops`        2 x MACs, and every arithmetic operation of the elementwise steps (`Op.operations` of each operator; an
                 exponential, a division, a square root, a comparison count as one)
* `tf_profiler`  TensorFlow's profiler on the frozen graph, and thereby the paper: 2 x MACs, bias 1, swish 1, E-swish 2,
                 SE scaling 1, residual sum 1, PReLU 3 (Keras writes it as relu(x) + -alpha * relu(-x)) an element; SE mean
                 and pooling 1 an *input* element; all others (batch norm, sigmoid, concatenation, ReLU) 0: it has no rule

The paper counts forward, batch 1, the part of the graph that the final map needs. `tf_profiler` has no backward rules of its
own: backward, it prices what is touched as forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epcore.op import Cost
from epcore.ops import OPS

# Steps of operators that are no operators themselves, each one operation an element. A mean's division is once a channel.
_STEPS = {"bias": 1, "mean": 1, "se_scale": 1}


@dataclass(frozen=True)
class Convention:
    """mac: what a multiply-accumulate is worth. prices: what one element of an elementwise kind is worth, forward and backward.

    arithmetic: an operator that is not among the prices is worth its operations (`Op.operations`); otherwise nothing.
    statistics_forward, statistics_backward: what batch norm's own statistics add an element in training mode.
    """

    name: str
    mac: int
    prices: Mapping[str, int] = field(default_factory=dict)
    arithmetic: bool = False
    statistics_forward: int = 0
    statistics_backward: int = 0

    def price(self, kind: str, *, backward: bool = False) -> int:
        """Of one element. Raises ValueError for a kind that is neither known nor an operator that says its operations."""
        if kind in self.prices:
            return self.prices[kind]
        if kind in _STEPS:
            return _STEPS[kind] if self.arithmetic else 0
        if kind not in OPS or (operations := OPS[kind].operations) is None:
            raise ValueError(f"nobody says how many operations an element of {kind!r} is: its Op has to (operations)")
        return operations[backward] if self.arithmetic else 0

    def count_forward(self, cost: Cost) -> int:
        """Raises ValueError as `price` does."""
        return self.mac * cost.macs + sum(self.price(kind) * n for kind, n in cost.elementwise.items())

    def count_backward(self, cost: Cost) -> int:
        """As `count_forward`, for the backward pass with every gradient wanted; batch norms on running statistics."""
        elementwise = sum(self.price(kind, backward=True) * n for kind, n in cost.backward_elementwise.items())
        return self.mac * cost.backward_macs + elementwise


_PROFILER = {
    "bias": 1,
    "swish": 1,
    "eswish": 2,
    "se_scale": 1,
    "add": 1,
    "mean": 1,
    "avg_pool": 1,
    "max_pool": 1,
    "prelu": 3,
}

CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("macs", 1),
        # Batch statistics: a sum for the mean; difference, square and sum for the variance; three more terms in dx.
        Convention("flops", 2, arithmetic=True, statistics_forward=4, statistics_backward=3),
        Convention("tf_profiler", 2, _PROFILER),
    )
}
