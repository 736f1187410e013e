"""The training loop (Section 4.1). One run is a folder (`run_folder`), and is measured now and then (`validation`).

A step depends on the configuration, the epoch and the step alone: pictures, order, augmentation and drop-connect are drawn from
[seed, epoch, step]. So a run that is resumed from a checkpoint ends with the very bits of one that was never interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from epcore.backend import use_backend
from epcore.base.arrays import Array, to_device_of
from epcore.base.version import VERSION
from epcore.data.loader import Batch, Loader
from epcore.evaluate.dataset import Evaluation
from epcore.not_numbers import NotNumbersError
from epcore.pose.encode import LOW_STRIDE
from epcore.tape import Tape
from epcore.train.config import TrainConfig
from epcore.train.distributed import Processes, SingleProcess, SynchronizedTape
from epcore.train.diverged import explain, not_finite
from epcore.train.loss import pose_loss
from epcore.train.optimizers import clip_by_norm, euclidean_norm
from epcore.train.run_folder import RunFolder
from epcore.train.setup import augmentation, train_data
from epcore.train.state import TrainingState
from epcore.train.validation import evaluate, validate

_DROP_CONNECT = 3  # stream of random numbers; the order of pictures has 1, their changes 2


class DivergedError(RuntimeError):
    """A loss or gradient is NaN or infinite; the message names step and layer, and what is at fault."""


@dataclass(frozen=True)
class StepResult:
    """loss and its parts by output, of the whole batch; norm: of the gradient before clipping."""

    loss: float
    parts: dict[str, float]
    norm: float


class Trainer(TrainingState):
    """One run: its state (`TrainingState`), its pictures and its folder; `step` makes one update, `run` all that are left.

    Start with `Trainer(config, folder)` (a folder that has no run yet) or `Trainer.resume(folder)`. folder None: nothing is
    written (range test, tests). processes: see `distributed`.
    """

    def __init__(
        self, config: TrainConfig, folder: str | os.PathLike[str] | None, *, processes: Processes | None = None
    ) -> None:
        self._prepare(config, None if folder is None else RunFolder(folder), processes, start=True)
        if self._run_folder:
            self._run_folder.begin(config)
            self._note("start", config=config.to_dict(), version=VERSION, processes=self.processes.count)

    def _prepare(self, config: TrainConfig, run: RunFolder | None, processes: Processes | None, *, start: bool) -> None:
        """Everything at its beginning. start: whether the weights are the configuration's; else a checkpoint's follow."""
        self.folder: Path | None = run.path if run else None
        self.processes = processes or SingleProcess()
        self.leads = self.processes.rank == 0
        self._run_folder = run if self.leads else None  # None: nothing is written
        self.rate, self.sigma = config.learning_rate, config.sigma
        if config.batch % self.processes.count:
            raise ValueError(f"batch_size is {config.batch}, expected a multiple of the {self.processes.count} processes")
        super().__init__(config, start=start)
        self.loader = Loader(
            train_data(config), batch_size=config.batch, resolution=config.side, seed=config.seed, workers=config.workers,
            augmentation=augmentation(config), people=config.people, upscaled="upscaled" in self.loss_weights,
            limb_width=config.limb_width * LOW_STRIDE, shard=(self.processes.rank, self.processes.count),
        )  # fmt: skip
        self.pictures, self.seconds = 0, 0.0  # trained on by this process, and the time that took, validation left out

    @classmethod
    def resume(
        cls, folder: str | os.PathLike[str], config: TrainConfig | None = None, *, processes: Processes | None = None
    ) -> Self:
        """Continue from a run's last checkpoint. config: refused where it differs in what the result depends on.

        Raises FileNotFoundError without a run, BlockingIOError where another process trains there, ValueError for a changed
        configuration or a checkpoint that does not fit. Of the last two checkpoints the last that is whole is taken; a Notice
        says so where that is the older.
        """
        run = RunFolder(folder)
        saved = run.read_config()
        config = config or saved
        config.check_resumable(saved)
        trainer = cls.__new__(cls)
        if processes is None or processes.rank == 0:
            run.lock()
        try:
            found = run.load()  # None: killed before its first checkpoint, begin again
            trainer._prepare(config, run, processes, start=found is None)
            if found:
                trainer.restore(*found)
            if trainer._run_folder:
                trainer._run_folder.resume(config, trainer.steps_done)
                trainer._note("resume", processes=trainer.processes.count)
        except BaseException:
            run.close()
            raise
        return trainer

    def close(self) -> None:
        """End the loader's processes, and let others have the folder."""
        self.loader.close()
        if self._run_folder:
            self._run_folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one step ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> float:
        """Position of the next step."""
        return self.next_epoch + self.next_step / len(self.loader)

    def step(self, batch: Batch, rate: float) -> StepResult:
        """One update from a batch of this process. Raises DivergedError before a NaN could reach the weights."""
        result = self._gradients(batch)
        clip_by_norm(self.vector.gradient, result.norm, self.config.clip)
        self.optimizer.step(self.vector.gradient, rate)
        self.steps_done += 1
        if self.average:
            self.average.follow(self.vector.values, self.steps_done)
        return result

    def _gradients(self, batch: Batch) -> StepResult:
        """Into the vector; averaged over the processes."""
        assert batch.targets is not None
        x = to_device_of(self.vector.values, batch.x)
        self._seed_drop_connect(batch)
        tape = Tape() if self.processes.count == 1 else SynchronizedTape(self.processes)
        outputs, watched = self.network.record(x, tape)
        total, parts = pose_loss(tape, outputs, batch.targets, self.loss_weights)
        losses = np.array([float(total.data), *(float(part.data) for part in parts.values())])
        if self.processes.count > 1:
            losses = self.processes.sum(losses) / self.processes.count
        if not np.isfinite(losses).all():
            raise DivergedError(self._explain(batch, x))
        tape.backward(total)
        self.vector.gather(tape, watched)
        if self.processes.count > 1:
            self.vector.gradient[...] = self.processes.sum(self.vector.gradient) / self.processes.count
        norm = euclidean_norm(self.vector.gradient)
        if not np.isfinite(norm):
            name = self.vector.first_not_finite()
            raise DivergedError(self._explain(batch, x, name))
        return StepResult(float(losses[0]), dict(zip(parts, losses[1:].tolist(), strict=True)), norm)

    def _seed_drop_connect(self, batch: Batch) -> None:
        seed = [self.config.seed, _DROP_CONNECT, batch.epoch, batch.step]
        self.network.seed_drop_connect(seed, shard=(self.processes.rank, self.processes.count))

    def _explain(self, batch: Batch, x: Array, gradient: str | None = None) -> str:
        """What went wrong in a step whose loss, or gradient of the parameter named, is not a number.

        With one process the step is repeated to tell divergence from damaged weights and wrong kernels.
        """
        assert batch.targets is not None
        if self.processes.count == 1:
            step = (self.network, x, batch.targets, self.loss_weights, lambda: self._seed_drop_connect(batch))
            reason, kernels = explain(*step, gradient)
        else:
            reason, kernels = not_finite(gradient), False
        stopped = "stopped" if kernels else "diverged"
        kept = f"; the last good checkpoint is kept in {self.folder}" if self.folder else ""
        advice = "" if kernels else "; lower --rate or set --clip"
        return (
            f"training {stopped} at step {self.steps_done + 1} (epoch {batch.epoch}, step {batch.step}): {reason}{kept}{advice}"
        )

    # ---- all steps ---------------------------------------------------------------------------------------------------

    def run(
        self, *, should_stop: Callable[[], bool] = lambda: False, report: Callable[[StepResult], None] | None = None
    ) -> bool:
        """Train to the end; True if it got there. should_stop: asked after every step; then a checkpoint is saved.

        Raises DivergedError, and OSError where the run's folder cannot be written.
        """
        with use_backend(self.config.backend):
            while self.next_epoch < self.config.epochs:
                if not self._run_epoch(should_stop, report):
                    self.save()
                    self._note("interrupted")
                    return False
            self.save()
            if self._run_folder:
                self._run_folder.write_weights(self.checkpoint(), self.config.variant)
            self._note("end")
            return True

    def _run_epoch(self, should_stop: Callable[[], bool], report: Callable[[StepResult], None] | None) -> bool:
        epoch = self.next_epoch
        sigma = self.sigma(epoch)
        began = time.perf_counter()
        batches = self.loader.epoch(epoch, sigma=sigma * LOW_STRIDE, start_step=self.next_step)
        pace = _Pace(self.loader, self.config.batch)
        try:
            for batch in batches:
                rate = self.rate(self.epoch)
                result = self.step(batch, rate)
                self.next_step += 1
                pace.steps += 1
                self.pictures += self.config.batch
                if report:
                    report(result)
                if self.steps_done % self.config.log_every == 0:
                    self._note(
                        "step", loss=result.loss, parts=result.parts, rate=rate, sigma=sigma, gradient_norm=result.norm,
                        **pace.to_log(),
                    )  # fmt: skip
                    pace = _Pace(self.loader, self.config.batch)
                if self.processes.agree(should_stop()):
                    return False
                if self.steps_done % self.config.checkpoint_every == 0 and self.next_step < len(self.loader):
                    self.save()
        finally:
            batches.close()
            self.seconds += time.perf_counter() - began
        self.next_epoch, self.next_step = epoch + 1, 0
        every = self.config.validate_every
        if every and (self.next_epoch % every == 0 or self.next_epoch == self.config.epochs):
            self._validate()
        self.save()
        return True

    def _validate(self) -> None:
        """PCKh on unseen pictures; the best so far is kept in a file of its own."""
        if not self.leads:
            return
        try:
            validation = validate(self.model, self.config, self.averages())
        except NotNumbersError as error:
            raise DivergedError(f"validation after step {self.steps_done}: {error}") from None
        self._note("validation", **validation.to_log())
        if self.best is None or validation.pckh50.total >= self.best:
            self.best = validation.pckh50.total
            if self._run_folder:
                self._run_folder.save_best(self.checkpoint())

    def evaluate(self) -> Evaluation:
        """On the validation pictures, with the moving average of the weights if there is one."""
        return evaluate(self.model, self.config, self.averages())

    # ---- the run's folder --------------------------------------------------------------------------------------------

    def save(self) -> None:
        if self._run_folder:
            self._run_folder.save(self.checkpoint())

    def _note(self, event: str, **values: Any) -> None:
        if self._run_folder:
            self._run_folder.log.write(event, step=self.steps_done, epoch=round(self.epoch, 6), **values)


class _Pace:
    """How fast the steps since a line of the log were."""

    def __init__(self, loader: Loader, batch: int) -> None:
        self.steps = 0
        self._loader, self._batch = loader, batch
        self._began, self._waited = time.perf_counter(), loader.seconds_waited

    def to_log(self) -> dict[str, float]:
        """Pictures a second, and the share of the time spent waiting for them."""
        seconds, waiting = time.perf_counter() - self._began, self._loader.seconds_waited - self._waited
        return {
            "pictures_per_second": round(self.steps * self._batch / seconds, 2),
            "waiting": round(waiting / seconds, 4),
        }
