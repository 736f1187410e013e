"""The machine that plans are made for: its caches, and what work costs on it."""

from __future__ import annotations

from dataclasses import dataclass

from epcore.inference.prices import Prices, prices
from epcore.kernels.cpu.caches import Caches, caches


@dataclass(frozen=True)
class Machine:
    caches: Caches
    prices: Prices


def this_machine() -> Machine:
    """The one we are on, as EPCORE_CACHES and EPCORE_PRICES allow. Prices are measured where none were kept."""
    found = caches()
    return Machine(found, prices(found))
