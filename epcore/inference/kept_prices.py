"""The prices of this machine: measured once for a processor, with the kernels that plans run.

Measured at the first compile (half a second, on a busy machine up to two), kept where compiled kernels are and read from there
ever after, so that all processes of a machine make the same plans; for the same reason they are those of DEFAULTS where nothing
can be kept, and with EPCORE_PRICES=default. Bits never depend on one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from epcore.inference.measured_prices import measure
from epcore.inference.prices import DEFAULTS, STRIP_KINDS, Prices, strip_name
from epcore.kernels.cpu import cache as kernel_cache
from epcore.kernels.cpu.cache_folders import folders, kept_in
from epcore.kernels.cpu.caches import Caches
from epcore.kernels.cpu.processor import LANES, PROCESSOR

VARIABLE = "EPCORE_PRICES"
_HERE, _PREFIX = Path(__file__).parent, "prices."


def prices(caches: Caches, prepare: Callable[[], object] = lambda: None) -> Prices:
    """Of this processor with these caches. prepare: called before anything is measured, which two cores at work would spoil.

    Raises ValueError for an EPCORE_PRICES other than "default".
    """
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "default"):
        raise ValueError(f'{VARIABLE} is {wanted!r}, expected "default" or nothing')
    if wanted == "default":
        return DEFAULTS[LANES]
    if caches not in _found:
        _found[caches] = _find(caches, prepare)
    return _found[caches]


_found: dict[Caches, Prices] = {}


def _find(caches: Caches, prepare: Callable[[], object]) -> Prices:
    kept, (stamp, name) = folders(_HERE), file_name(caches)
    known = _read(kept.read(name))
    if known is not None or kept_in(_HERE) is None:
        return known or DEFAULTS[LANES]
    prepare()
    measured = measure(caches)
    known = _read(kept.read(name))
    if known is None:  # else another process was faster: all take what it found
        kept.write(name, json.dumps(asdict(measured)).encode(), _PREFIX, stamp)
    return known or measured


def file_name(caches: Caches) -> tuple[str, str]:
    """Of the file with the prices of these caches and this processor: what it begins with for the kernels as they are now, and
    the whole."""
    sources = sha256()
    for path in sorted([*_HERE.glob("*prices.py"), *_HERE.glob("steps/*.py"), *kernel_cache.SHARED]):
        sources.update(path.read_bytes())
    stamp = f"{_PREFIX}{sources.hexdigest()[:8]}."
    machine = PROCESSOR.triple, PROCESSOR.cpu, sorted(PROCESSOR.features), str(caches)
    return stamp, f"{stamp}{sha256(repr(machine).encode()).hexdigest()[:40]}.json"


def _read(files: Iterable[bytes]) -> Prices | None:
    """The first of the files that is whole."""
    for data in files:
        try:
            found = Prices(**json.loads(data))
            numbers = [*(value for name, value in asdict(found).items() if name != "depthwise"), *found.depthwise.values()]
            if found.depthwise.keys() == {strip_name(*kind) for kind in STRIP_KINDS} and all(0 < n < 1 for n in numbers):
                return found
        except (ValueError, TypeError, AttributeError):
            continue
    return None
