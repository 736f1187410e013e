"""What counts as how many FLOPs. Everybody counts differently; here every convention in use is written down.

Each operator states its exact work in `Cost`: multiply-accumulates (MACs), and elementwise steps as kind -> number of elements.
A convention prices them. All counts are integers.

* `macs`         multiply-accumulates of convolutions and products, nothing else (what most papers call FLOPs or MAdds)
* `flops`        2 x MACs, and every arithmetic operation of the elementwise steps (weights below; an exponential, a division,
                 a square root, a comparison count as one)
* `tf_profiler`  TensorFlow's profiler on the frozen graph, and thereby the paper: 2 x MACs, bias 1, swish 1, E-swish 2,
                 SE scaling 1, residual sum 1, PReLU 3 (Keras writes it as relu(x) + -alpha * relu(-x)) an element; SE mean
                 and pooling 1 an *input* element; batch norm, sigmoid, concatenation, ReLU 0 (the profiler has no rule)

The paper counts forward, batch 1, the part of the graph that the final map needs. `tf_profiler` has no backward rules of its
own: backward, it prices what is touched as forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epcore.op import Cost


@dataclass(frozen=True)
class Convention:
    """mac: what a multiply-accumulate is worth. forward, backward: what one element of each elementwise kind is worth.

    statistics_forward, statistics_backward: what batch norm's own statistics add an element in training mode.
    """

    name: str
    mac: int
    forward: Mapping[str, int]
    backward: Mapping[str, int]
    statistics_forward: int = 0
    statistics_backward: int = 0

    def count_forward(self, cost: Cost) -> int:
        """Raises KeyError for an elementwise kind that the convention has not priced."""
        return self.mac * cost.macs + sum(self.forward[kind] * n for kind, n in cost.elementwise.items())

    def count_backward(self, cost: Cost) -> int:
        """As `count_forward`, for the backward pass with every gradient wanted; batch norms on running statistics."""
        return self.mac * cost.backward_macs + sum(self.backward[kind] * n for kind, n in cost.backward_elementwise.items())


# Operations an element, from the equations in epcore/ops: a sigmoid is negate, exp, add, divide.
_FLOPS_FORWARD = {
    "bias": 1,
    "batch_norm": 2,  # inference: times scale, plus shift
    "sigmoid": 4,
    "swish": 5,  # sigmoid, times x
    "eswish": 6,  # and times beta
    "relu": 1,  # one comparison
    "prelu": 2,
    "mean": 1,
    "se_scale": 1,
    "add": 1,
    "multiply": 1,
    "avg_pool": 1,
    "max_pool": 1,
    "concat": 0,  # moves bytes, computes nothing
    "drop_connect": 1,
    "mse": 3,  # difference, square, sum
}
_FLOPS_BACKWARD = {
    "bias": 1,  # db sums dy
    "batch_norm": 6,  # z 2, dbeta 1, dgamma 2, dx 1
    "sigmoid": 3,  # dy * y * (1 - y)
    "swish": 9,  # sigmoid again, then dy * s * (1 + x * (1 - s))
    "eswish": 10,
    "relu": 1,
    "prelu": 5,  # comparison, alpha * dy; minimum, product and sum of dalpha
    "mean": 1,
    "se_scale": 1,  # the cost lists its three steps: dy * x, their sum, dy * gate
    "add": 0,  # dy goes to both
    "multiply": 1,
    "avg_pool": 1,
    "max_pool": 1,
    "concat": 0,
    "drop_connect": 1,
    "mse": 2,  # difference, times 2/n
}
_PROFILER = dict.fromkeys(_FLOPS_FORWARD, 0) | {
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
_NOTHING = dict.fromkeys(_FLOPS_FORWARD, 0)

CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("macs", 1, _NOTHING, _NOTHING),
        # Batch statistics: a sum for the mean; difference, square and sum for the variance; three more terms in dx.
        Convention("flops", 2, _FLOPS_FORWARD, _FLOPS_BACKWARD, statistics_forward=4, statistics_backward=3),
        Convention("tf_profiler", 2, _PROFILER, _PROFILER),
    )
}
