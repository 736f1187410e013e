"""Weight files of any format as arrays: opened in a process of their own, or, where the caller trusts them, in this one."""

from __future__ import annotations

from os import PathLike

from epcore.base.guarded import prepare, read_guarded
from epcore.weights_tools.published import check_kept, find_weights
from epcore.weights_tools.weight_file import Layer, WeightFile

_READER = "epcore.weights_tools.formats:plain_weights"


def prepare_to_read() -> None:
    """Start the process that opens files now: what comes before one is read hides that."""
    prepare(_READER)


def read_weights(path: str | PathLike[str], *, trusted: bool = False) -> WeightFile:
    """Every array of a weight file. trusted: open it here, which is sooner and harmless for files of one's own.

    path: a network's name stands for its published file (`find_weights`), whose digest is checked.

    Raises OSError where it cannot be read; ValueError, naming the file, where it is damaged, of no known format, not the one
    that was published, or cannot be read within the memory and time that files of its size need (`epcore.base.guarded`).
    """
    path = find_weights(path)
    check_kept(path)
    if trusted:
        from epcore.weights_tools.formats import read_weights_here

        return read_weights_here(path)
    plain = read_guarded(_READER, path)
    arrays = {(layer, role): array for layer, role, array in plain["arrays"]}
    layers = {name: Layer(**facts) for name, facts in plain["layers"].items()}
    return WeightFile(**plain | {"arrays": arrays, "layers": layers})
