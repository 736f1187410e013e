"""Data parallelism: every process has the whole network and a part of every batch.

Engine: MPI, through mpi4py (`pip install epcore[mpi]`): `mpirun -n 2 epcore train ...`. Gradients are averaged before the step,
so all processes make the same one. **Batch norm is synchronised**: mean, variance and the two sums of its backward pass are
those of the whole batch, as if one process had it all. So the result does not depend on the number of processes but for
rounding; the price is two short messages a batch norm and direction.
"""

from __future__ import annotations

import os
import sys
from math import prod
from typing import Any, Protocol

import numpy as np

from epcore.backend import Array, array_module, is_cupy, to_numpy
from epcore.ops.batch_norm import EPSILON
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
            return array_module(array).asarray(self.sum(to_numpy(array)))
        array = np.ascontiguousarray(array)
        parts = np.empty((self.count, *array.shape), array.dtype)
        self._world.Allgather(array, parts)
        return parts.sum(axis=0)  # in the order of the ranks, whatever the network between them does

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

    def kernel(self, op: str, arrays: list[Any], attributes: dict[str, Any]) -> tuple[Any, Any]:
        if op == "batch_norm" and attributes.get("training"):
            return self._forward, self._backward
        return super().kernel(op, arrays, attributes)

    def _forward(
        self, x: Array, gamma: Array, beta: Array, *_running: Array, epsilon: float = EPSILON, training: bool = True
    ) -> tuple[Array, tuple[Any, ...]]:
        """As `epcore.ops.batch_norm.forward` on the whole batch. Parts may differ in size."""
        xp = array_module(x)
        count = self.processes.sum(np.array([prod(x.shape[:3])]))[0]
        mean = self.processes.sum(x.sum(axis=(0, 1, 2), dtype=xp.float64)) / count
        centred = x - mean.astype(x.dtype)
        squares = self.processes.sum(xp.square(centred).sum(axis=(0, 1, 2), dtype=xp.float64))
        variance = (squares / count).astype(x.dtype)
        y = centred * (gamma / xp.sqrt(variance + x.dtype.type(epsilon))) + beta
        return y, (x, gamma, mean.astype(x.dtype), variance, count)

    def _backward(
        self, dy: Array, saved: tuple[Any, ...], *, epsilon: float = EPSILON, training: bool = True
    ) -> tuple[Array | None, ...]:
        """dx needs the sums over all processes; dgamma and dbeta are this part's, averaged later with all gradients."""
        x, gamma, mean, variance, count = saved
        xp = array_module(x)
        r = 1 / xp.sqrt(variance + x.dtype.type(epsilon))
        z = (x - mean) * r
        dbeta = dy.sum(axis=(0, 1, 2), dtype=xp.float64)
        dgamma = (dy * z).sum(axis=(0, 1, 2), dtype=xp.float64)
        means = (self.processes.sum(xp.stack([dbeta, dgamma])) / count).astype(x.dtype)
        dx = gamma * r * (dy - means[0] - z * means[1])
        return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype), None, None
