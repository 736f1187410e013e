"""What a mistake is, and what the operator gives where none is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.ops import OPS
from epcore.port.setting import Forward


@dataclass(frozen=True)
class Mistake:
    """title: what the port does. hint: what is right. forward: what the mistake computes, called as the operator's forward."""

    title: str
    hint: str
    forward: Forward


def correct(op: str, *arrays: Any, **attributes: Any) -> np.ndarray:
    """What the operator gives, without what it saves."""
    y: np.ndarray = OPS[op].forward(*arrays, **attributes)[0]
    return y
