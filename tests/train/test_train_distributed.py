"""Two processes that share a batch make the same step as one that has it all, but for rounding."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from train_helpers import tiny

from epcore.base.arrays import Array
from epcore.ops import batch_norm
from epcore.tape import Tape
from epcore.train.checkpoint import Checkpoint
from epcore.train.distributed import SynchronizedTape
from epcore.train.trainer import Trainer


class Threads:
    """`Processes` for threads of this process, which meet at a barrier."""

    def __init__(self, rank: int, count: int, shared: list[Array], barrier: threading.Barrier) -> None:
        self.rank, self.count, self._shared, self._barrier = rank, count, shared, barrier

    @classmethod
    def group(cls, count: int) -> list[Threads]:
        shared: list[Array] = [None] * count
        barrier = threading.Barrier(count, timeout=60)
        return [cls(rank, count, shared, barrier) for rank in range(count)]

    def sum(self, array: Array) -> Array:
        self._shared[self.rank] = np.array(array)
        self._barrier.wait()
        total = sum(self._shared[1:], start=self._shared[0])
        self._barrier.wait()
        return total

    def agree(self, flag: bool) -> bool:
        return bool(self.sum(np.array(int(flag))))

    def abort(self) -> None:
        self._barrier.abort()


def test_batch_norm_of_parts_is_that_of_the_whole(rng: np.random.Generator) -> None:
    """Float64: forward, gradients of x, gamma and beta, statistics; parts of different sizes."""
    x, dy = rng.normal(3, 2, (5, 4, 3, 7)), rng.normal(size=(5, 4, 3, 7))
    gamma, beta = rng.normal(size=7), rng.normal(size=7)
    y, saved = batch_norm.forward(x, gamma, beta, np.zeros(7), np.ones(7), training=True)
    dx, dgamma, dbeta, _, _ = batch_norm.backward(dy, saved, training=True)
    parts = [slice(0, 2), slice(2, 5)]

    def run(member: Threads) -> tuple[np.ndarray, ...]:
        part = parts[member.rank]
        tape = SynchronizedTape(member)
        watched = [tape.watch(array) for array in (x[part], gamma, beta)]
        out, kept = tape.apply_with_saved("batch_norm", *watched, np.zeros(7), np.ones(7), training=True)
        tape.backward(out, dy[part])
        return (out.data, *(tape.gradient(tensor) for tensor in watched), kept[2], kept[3])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, Threads.group(2))
    np.testing.assert_allclose(np.concatenate([first[0], second[0]]), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([first[1], second[1]]), dx, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(first[2] + second[2], dgamma, rtol=1e-10)
    np.testing.assert_allclose(first[3] + second[3], dbeta, rtol=1e-10)
    for ours in (first, second):
        np.testing.assert_allclose(ours[4], saved[2], rtol=1e-12)
        np.testing.assert_allclose(ours[5], saved[3], rtol=1e-12)


def test_inference_is_not_synchronised(rng: np.random.Generator) -> None:
    alone = Threads.group(2)[0]  # would wait for its companion for ever
    arrays = rng.normal(size=(2, 3, 3, 4)), np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)
    ours, theirs = SynchronizedTape(alone), Tape()
    first = ours.apply("batch_norm", *(ours.watch(array) for array in arrays), training=False)
    second = theirs.apply("batch_norm", *(theirs.watch(array) for array in arrays), training=False)
    np.testing.assert_array_equal(first.data, second.data)


# Float32: every layer rounds by a few eps (c = 8, as everywhere in the tests), and the gradient passes some 60 of them.
TOLERANCE = 60 * 8 * np.finfo(np.float32).eps


def _mpirun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`epcore ARGUMENTS` in two processes, or a skip."""
    if find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed")
    if shutil.which("mpirun") is None:
        pytest.skip("mpirun is not installed (apt-get install openmpi-bin)")
    mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", "2"]
    command = [*mpirun, sys.executable, "-m", "epcore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_one_step_of_two_ranks_in_mpi(tmp_path: Path) -> None:
    """With augmentation and drop-connect: everything random is drawn for the whole batch."""
    config = tiny(epochs=1, pictures=4)
    (tmp_path / "config.toml").write_text(config.to_toml())
    done = _mpirun("train", "--config", f"{tmp_path}/config.toml", "--output", f"{tmp_path}/two")
    assert done.returncode == 0, done.stderr
    with Trainer(config, tmp_path / "one") as one:
        one.run()
    alone, together = Checkpoint.load(tmp_path / "one/checkpoint.npz"), Checkpoint.load(tmp_path / "two/checkpoint.npz")
    assert alone.step == together.step == 1
    ours, theirs = alone.optimizer["momentum"], together.optimizer["momentum"]  # the gradient, times the rate
    assert np.linalg.norm(ours) > 0
    assert np.linalg.norm(ours - theirs) <= TOLERANCE * np.linalg.norm(ours)
    for name, array in alone.parameters.items():
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(together.parameters[name], array, atol=1e-5 * scale, err_msg=name)


def test_an_error_in_one_process_ends_all(tmp_path: Path) -> None:
    """Only the first writes, so only it finds the folder taken; the other must not wait for it."""
    (tmp_path / "config.toml").write_text(tiny(epochs=1).to_toml())
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.npz").write_text("something")
    done = _mpirun("train", "--config", f"{tmp_path}/config.toml", "--output", f"{tmp_path}/run")
    assert done.returncode == 2
    assert "error: process 0" in done.stderr
    assert "already has a run" in done.stderr


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 3, expected a multiple of the 2 processes"):
        Trainer(tiny(batch_size=3), None, processes=Threads.group(2)[0])
