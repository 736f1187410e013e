"""The types: `Vectors(count)`, a block of vectors held in registers, and what LLVM calls its parts."""

from __future__ import annotations

from typing import Any, TypeAlias

from llvmlite import ir
from numba.core import types
from numba.extending import models, register_model

from epcore.kernels.cpu.processor import LANES

FLOAT = ir.FloatType()
INT = ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, LANES)
INTEGERS = ir.VectorType(INT, LANES)

Block: TypeAlias = Any  # in the signatures of kernels: a value of the Numba type `Vectors`, which Python has no type for


class Vectors(types.Type):
    """Numba type of a block of `count` vectors of LANES float32, held in registers."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Vectors({count}x{LANES}xfloat32)")


@register_model(Vectors)
class VectorsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vectors) -> None:
        super().__init__(manager, kind, ir.ArrayType(VECTOR, kind.count))
