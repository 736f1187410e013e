"""Batches for training and evaluation: in which order, prepared by whom, normalised, with their targets.

What a batch holds depends on the seed, the epoch and the step alone, not on how many processes prepare it. Processes make the
pictures; normalisation and targets, which are quick and large, are made in a thread of this process.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from epcore.data.augment import NO_AUGMENTATION, Augmentation
from epcore.data.preparation import Dataset, Preparation, Sample, Task, Truth
from epcore.data.workers import Workers
from epcore.kernels.cpu.cache import cached
from epcore.pose.affine import invert, transform_points
from epcore.pose.encode import LIMB_WIDTH, LOW_STRIDE, Targets, render_targets
from epcore.pose.preprocess import normalize
from epcore.pose.skeleton import FLIP_PERMUTATION

_ORDER = 1  # stream of random numbers; the pictures' changes have 2, drop-connect 3


@dataclass(frozen=True)
class Batch:
    """x (N,R,R,3) float32, normalised as `epcore.pose.preprocess`. targets: None if no sigma was given.

    keypoints (N,J,2) float64, pixels of the input, NaN where unknown; annotated, visible (N,J) bool, of the input too.
    matrices (N,2,3): from pixels of the picture to those of the input. truths: in the picture.
    """

    epoch: int
    step: int
    x: np.ndarray
    targets: Targets | None
    keypoints: np.ndarray
    annotated: np.ndarray
    visible: np.ndarray
    matrices: np.ndarray
    truths: tuple[Truth, ...]

    def to_pictures(self, points: np.ndarray) -> np.ndarray:
        """points (N,J,2), pixels of the input -> pixels of the pictures; what was flipped gets its sides back."""
        result = np.empty(points.shape, np.float64)
        for n, matrix in enumerate(self.matrices):
            back = transform_points(points[n], invert(matrix))
            result[n] = back[FLIP_PERMUTATION] if np.linalg.det(matrix[:, :2]) < 0 else back
        return result


class Loader:
    """Batches of a data set, epoch by epoch.

    batch_size: pictures a step, of all shards together. resolution: side R of the input, a multiple of 8. workers: processes
    that prepare pictures, 0 for none. augmentation: None for none. shuffle: a new order every epoch. drop_last: leave out
    the pictures that do not fill a batch. people: "main" draws targets of the person to be found only, so that the network
    learns to leave out others; "all" of everybody annotated. upscaled: draw targets at R x R too. prefetch: batches ready in
    advance. shard: (rank, ranks); each rank gets its part of every batch.

    Close it, or use it in a `with` statement, to end the processes. Raises ValueError for wrong arguments.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        resolution: int,
        seed: int = 0,
        workers: int = 0,
        augmentation: Augmentation | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        people: Literal["main", "all"] = "main",
        upscaled: bool = True,
        limb_width: float = LIMB_WIDTH,
        prefetch: int = 2,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        rank, ranks = shard
        if not 0 <= rank < ranks:
            raise ValueError(f"shard is {shard}, expected (rank, ranks) with rank below ranks")
        if batch_size < 1 or batch_size % ranks:
            raise ValueError(f"batch_size is {batch_size}, expected a positive multiple of the {ranks} ranks")
        if resolution < LOW_STRIDE or resolution % LOW_STRIDE:
            raise ValueError(f"resolution is {resolution}, expected a positive multiple of {LOW_STRIDE}")
        if people not in ("main", "all"):
            raise ValueError(f"people is {people!r}, expected 'main' or 'all'")
        if workers < 0 or prefetch < 1:
            raise ValueError(f"workers is {workers} and prefetch {prefetch}, expected at least 0 and 1")
        if ranks > 1 and not drop_last:
            raise ValueError("a last batch that is not full cannot be divided among ranks: set drop_last")
        if drop_last and len(dataset) < batch_size:
            raise ValueError(f"the data set has {len(dataset)} pictures, fewer than one batch of {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.resolution = resolution
        self.seed = seed
        self.shuffle = shuffle
        self.people = people
        self.upscaled = upscaled
        self.limb_width = limb_width
        self.shard = shard
        self.seconds_waited = 0.0  # that whoever uses the batches spent waiting for them
        self._steps = len(dataset) // batch_size if drop_last else -(-len(dataset) // batch_size)
        self._prepare = Preparation(dataset, resolution, seed, augmentation or NO_AUGMENTATION)
        self._worker_count = workers
        self._prefetch = prefetch
        self._workers: Workers | None = None

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._steps

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; the next epoch starts new ones."""
        if self._workers:
            self._workers.close()
            self._workers = None

    def epoch(self, epoch: int, *, sigma: float | None = None, start_step: int = 0) -> Generator[Batch, None, None]:
        """Batches start_step, start_step + 1, ... of an epoch. sigma: of the confidence maps, pixels of the input.

        Finish or close one iterator before asking for the next. Raises what reading a picture raises.
        """
        if not 0 <= start_step <= len(self):
            raise ValueError(f"start_step is {start_step}, expected 0 to {len(self)}")
        tasks = self._tasks(epoch, start_step)
        batches = self._ahead(tasks, sigma) if self._worker_count else self._at_once(tasks, sigma)
        try:
            while True:
                began = time.perf_counter()
                batch = next(batches, None)
                self.seconds_waited += time.perf_counter() - began
                if batch is None:
                    return
                yield batch
        finally:
            batches.close()

    def _tasks(self, epoch: int, start_step: int) -> list[Task]:
        """This shard's part of every batch."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(order)
        rank, ranks = self.shard
        tasks = []
        for step in range(start_step, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            part = batch[len(batch) * rank // ranks : len(batch) * (rank + 1) // ranks]
            tasks.append(Task(epoch, step, tuple(part.tolist())))
        return tasks

    def _at_once(self, tasks: list[Task], sigma: float | None) -> Generator[Batch, None, None]:
        for task in tasks:
            yield self._assemble(self._prepare(task), task, sigma)

    def _ahead(self, tasks: list[Task], sigma: float | None) -> Generator[Batch, None, None]:
        if self._workers is None:
            self._workers = Workers(self._prepare, self._worker_count)
        workers = self._workers
        ready: queue.Queue[Batch | Exception | None] = queue.Queue(self._prefetch)
        stopped = threading.Event()

        def put(item: Batch | Exception | None) -> bool:
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def fill() -> None:
            results = workers.map(tasks)
            try:
                for task, samples in zip(tasks, results, strict=True):
                    if not put(self._assemble(samples, task, sigma)):
                        return
                put(None)
            except Exception as error:
                put(error)
            finally:
                results.close()

        thread = threading.Thread(target=fill, name="loader", daemon=True)
        thread.start()
        failure = None
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, Exception):
                    failure = item
                    break
                yield item
        finally:
            stopped.set()
            thread.join()
        if failure:
            self.close()
            raise failure

    def _assemble(self, samples: list[Sample], task: Task, sigma: float | None) -> Batch:
        main = [sample.persons[0] for sample in samples]
        targets = None
        if sigma is not None:
            shown = [sample.persons[:1] if self.people == "main" else sample.persons for sample in samples]
            persons = [[(person.keypoints, person.annotated) for person in each] for each in shown]
            targets = render_targets(persons, self.resolution, sigma, upscaled=self.upscaled, limb_width=self.limb_width)
        return Batch(
            task.epoch,
            task.step,
            _normalize(np.stack([sample.pixels for sample in samples]), _LEVELS),
            targets,
            np.stack([person.keypoints for person in main]),
            np.stack([person.annotated for person in main]),
            np.stack([person.visible for person in main]),
            np.stack([sample.matrix for sample in samples]),
            tuple(sample.truth for sample in samples),
        )


_LEVELS = normalize(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))  # (256,3) float32: the input has no others


@partial(cached, nogil=True)
def _normalize(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """pixels (N,R,R,3) uint8 -> float32, the values of `epcore.pose.normalize` looked up."""
    x = np.empty(pixels.shape, np.float32)
    N, H, W, C = pixels.shape
    for n in range(N):
        for i in range(H):
            for j in range(W):
                for c in range(C):
                    x[n, i, j, c] = levels[pixels[n, i, j, c], c]
    return x
