"""The machine that plans are made for: its caches, and what work costs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from epcore.inference.kept_prices import prices
from epcore.inference.prices import DEFAULTS, Prices
from epcore.kernels.cpu.caches import Caches, caches
from epcore.kernels.cpu.processor import LANES


@dataclass(frozen=True)
class Machine:
    caches: Caches
    prices: Prices


def this_machine(prepare: Callable[[], object] = lambda: None) -> Machine:
    """The one we are on, as EPCORE_CACHES and EPCORE_PRICES allow. Prices that are not kept are measured, after prepare()."""
    found = caches()
    return Machine(found, prices(found, prepare))


def unmeasured_machine() -> Machine:
    """With the prices of another one."""
    return Machine(caches(), DEFAULTS[LANES])
