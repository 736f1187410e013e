"""Data parallelism: every process has the whole network and a part of every batch.

Engine: MPI, through mpi4py (`pip install epcore[mpi]`): `mpirun -n 2 epcore train ...`. Gradients are averaged before the step,
so all processes make the same one. **Batch norm is synchronised**: mean, variance and the two sums of its backward pass are
those of the whole batch, as if one process had it all. So the result does not depend on the number of processes but for
rounding; the price is two short messages a batch norm forward and one backward.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any, Protocol

import numpy as np

from epcore.backend import Kernel
from epcore.base.arrays import Array, is_cupy, to_device_of, to_numpy
from epcore.ops import OPS
from epcore.tape import Tape


class Processes(Protocol):
    """rank of this process, 0 <= rank < count."""

    rank: int
    count: int

    def sum(self, array: Array) -> Array:
        """The sum over all processes, in every one of them the same bits."""
        ...

    def agree(self, flag: bool) -> bool:
        """True everywhere if it is true anywhere."""
        ...

    def abort(self) -> None:
        """End all processes at once, with exit code 2, after an error in this one: the others would wait for it for ever."""
        ...


class SingleProcess:
    rank, count = 0, 1

    def sum(self, array: Array) -> Array:
        return array

    def agree(self, flag: bool) -> bool:
        return flag

    def abort(self) -> None:
        pass


class MpiProcesses:
    """All processes that `mpirun` started. Raises ModuleNotFoundError without mpi4py."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ModuleNotFoundError(f"training with several processes needs mpi4py and MPI: {error}") from None
        self._world = MPI.COMM_WORLD
        self.rank, self.count = self._world.Get_rank(), self._world.Get_size()

    def sum(self, array: Array) -> Array:
        if is_cupy(array):
            return to_device_of(array, self.sum(to_numpy(array)))
        array = np.ascontiguousarray(array)
        parts = np.empty((self.count, *array.shape), array.dtype)
        self._world.Allgather(array, parts)
        total: Array = parts.sum(axis=0)  # in the order of the ranks, whatever the network between them does
        return total

    def agree(self, flag: bool) -> bool:
        return bool(self._world.allreduce(int(flag)))

    def abort(self) -> None:
        sys.stderr.flush()
        self._world.Abort(2)


def find_processes() -> Processes:
    """MPI's if this process was started by mpirun or srun with company, else this one alone."""
    started = os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("PMI_SIZE")
    return MpiProcesses() if started and int(started) > 1 else SingleProcess()


class SynchronizedTape(Tape):
    """A tape whose batch norms, in training, see the batches of all processes."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    def kernel(self, op: str, arrays: list[Array | None], attributes: dict[str, Any]) -> Kernel:
        """In training the reference's batch norm, which is the one that can have a part of a batch."""
        if OPS[op].batch_statistics and attributes.get("training"):
            reference = OPS[op]
            return partial(reference.forward, reduce=self.processes.sum), partial(reference.backward, reduce=self.processes.sum)
        return super().kernel(op, arrays, attributes)
