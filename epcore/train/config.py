"""What a training does, as one record: from flags or TOML, saved with the run, compared when it is resumed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from epcore.backend import BACKENDS
from epcore.base.checks import COUNT, FACTOR, PROCESSES, SEEDS, SIDE, Real, Whole
from epcore.data.body import VARIETIES
from epcore.models.configs import pose_config
from epcore.ops import batch_norm
from epcore.train.loss import LAST_MAPS
from epcore.train.optimizers import OPTIMIZERS
from epcore.train.schedules import LEARNING_RATES, SIGMAS, LearningRate, Sigma, final_rate

DATA = ("synthetic", "mpii")

# The paper's sigma schedule is a figure for II; other variants scale with the detection map's side. These ends are ours.
SIGMA_OF_II = (3.5, 2.0)
SIDE_OF_II = 368

_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}

BATCH_SIZES = {"III": 10, "IV": 5}  # the paper's; 20 for the others


def option(
    default: Any, text: str, bounds: Whole | Real | None = None, *, choices: tuple[str, ...] | None = None, free: bool = False
) -> Any:
    """A field with its help text. bounds: of a number, every one has some. free: may change when a run is resumed, because the
    result does not depend on it."""
    return field(default=default, metadata={"help": text, "bounds": bounds, "choices": choices, "free": free})


_WEIGHT, _SIGMA, _SHARE, _DECAY = Real(0, FACTOR), Real(0, SIDE), Real(0, 1), Real(0, 0.999999)
_EVERY = Whole(1, 10**9)


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on. The defaults are the paper's where it says something (see docs/training.md).

    Fields are what is asked for, under the names of the options; 0 or an empty text, where the help says so, stand for a value
    that follows from the variant. Properties are what holds then, and what code reads: `variant` of `model`, `side` of
    `resolution`, `batch` of `batch_size`, `sigma` and `learning_rate` of their schedules. `momentum` is batch norm's, read as
    `batch_norm_momentum`; SGD's is the paper's and no option.

    Raises ValueError naming the field for values that make no sense, TypeError for values of the wrong type.
    """

    data: str = option("synthetic", "what to learn from", choices=DATA)
    folder: str = option("", "MPII's folder, with the annotation file and images/")
    train_split: str = option("", "file that names MPII's training persons (default: drawn with --split-seed)")
    validation_split: str = option("", "file that names MPII's validation persons")
    split_seed: int = option(0, "seed of MPII's random split", Whole(0, SEEDS))
    skip_broken: bool = option(False, "leave out MPII's missing and damaged pictures")
    pictures: int = option(4000, "synthetic pictures an epoch, new ones every epoch unless --repeat", Whole(1, COUNT))
    repeat: bool = option(False, "show the same synthetic pictures in every epoch")
    variety: str = option("default", "how hard the synthetic figures are", choices=tuple(VARIETIES))
    people: Literal["main", "all"] = option(
        "main", "whose targets are drawn: the main person's, or all", choices=("main", "all")
    )

    model: str = option("RT", "RT, I, II, III, IV or phi")
    init: str = option(
        "none", "start from: none, ImageNet weights of the backbone (.h5, B0 to B7), or a trained model (.h5, .npz, run)"
    )
    init_low: str = option("", "ImageNet weights of the low-resolution backbone (default: random)")
    freeze: str = option("", "parts that are not trained, as prefixes of parameter names: high.,low.")
    resolution: int = option(0, "side of the input, a multiple of 16 (0: the variant's)", Whole(0, SIDE))

    epochs: int = option(200, "how often all pictures are seen", Whole(1, COUNT))
    batch_size: int = option(0, "pictures a step, of all processes together (0: the paper's, 20, 10 or 5)", Whole(0, COUNT))
    optimizer: str = option("sgd", "sgd is the paper's: momentum 0.9", choices=tuple(OPTIMIZERS))
    rate: float = option(2e-4, "lambda_max, the highest learning rate; --range-test finds it", Real(0, FACTOR, above=True))
    schedule: str = option("cyclical", "of the learning rate; cyclical is the paper's", choices=LEARNING_RATES)
    sigma_schedule: str = option("steps", "from sigma_start to sigma_end", choices=SIGMAS)
    sigma_start: float = option(
        0.0, "sigma_0, pixels of the detection map (0: 3.5 for II, others in proportion to the side)", _SIGMA
    )
    sigma_end: float = option(0.0, "sigma_inf, pixels of the detection map (0: 2.0 for II, others in proportion)", _SIGMA)
    limb_width: float = option(
        2.0, "width of a limb in the affinity fields, pixels of the detection map", Real(0, SIDE, above=True)
    )
    last_map: str = option("low", "map of pass 3 that is compared: low-resolution or upscaled", choices=LAST_MAPS)
    weight_pafs: float = option(1.0, "loss weight of pass 1", _WEIGHT)
    weight_pass2: float = option(1.0, "loss weight of pass 2", _WEIGHT)
    weight_pass3: float = option(1.0, "loss weight of pass 3", _WEIGHT)
    clip: float = option(0.0, "largest norm of the gradient (0: no clipping)", Real(0, 1e12))
    average: float = option(0.0, "decay of a moving average of the weights, which is then evaluated and kept (0: none)", _DECAY)
    drop_connect: bool = option(True, "drop residual branches at random, as the paper does")
    momentum: float = option(batch_norm.MOMENTUM, "of batch norm's running statistics", _DECAY)

    flip: float = option(0.5, "probability of a horizontal flip", _SHARE)
    scale_min: float = option(0.75, "smallest factor of the person's size", Real(0, 100, above=True))
    scale_max: float = option(1.25, "largest factor of the person's size", Real(0, 100, above=True))
    rotation: float = option(45.0, "largest rotation, degrees to either side", Real(0, 180))

    seed: int = option(0, "of weights, pictures, order and augmentation", Whole(0, SEEDS))
    validation_pictures: int = option(200, "pictures that PCKh is computed on", Whole(1, COUNT), free=True)
    validate_every: int = option(1, "epochs between two validations (0: never)", Whole(0, COUNT), free=True)
    checkpoint_every: int = option(
        100, "steps between two checkpoints; there is one at the end of every epoch too", _EVERY, free=True
    )
    log_every: int = option(10, "steps between two lines of the log", _EVERY, free=True)
    workers: int = option(1, "processes that prepare pictures", Whole(0, PROCESSES), free=True)
    backend: str = option("auto", "what computes", choices=BACKENDS)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            wanted: tuple[type, ...] = _TYPES.get(str(entry.type), (str,))
            if not isinstance(value, wanted) or (isinstance(value, bool) and entry.type != "bool"):
                raise TypeError(f"{entry.name} is {value!r}, expected {entry.type}")
            choices = entry.metadata["choices"]
            if choices and value not in choices:
                raise ValueError(f"{entry.name} is {value!r}, expected one of {', '.join(choices)}")
            if bounds := entry.metadata["bounds"]:
                bounds.check(value, entry.name)
        pose_config(self.variant)
        if self.data == "mpii" and not self.folder:
            raise ValueError("folder is missing: where is MPII?")
        if self.resolution and (self.resolution < 32 or self.resolution % 16):
            raise ValueError(f"resolution is {self.resolution}, expected a multiple of 16 from 32 on, or 0")

    @property
    def variant(self) -> str | int:
        """A name or phi, as `EfficientPose` takes it."""
        return int(self.model) if self.model.isdecimal() else self.model

    @property
    def side(self) -> int:
        """Of the input, pixels."""
        return self.resolution or pose_config(self.variant).resolution

    @property
    def batch(self) -> int:
        """Pictures a step, of all processes together."""
        return self.batch_size or BATCH_SIZES.get(pose_config(self.variant).name, 20)

    @property
    def batch_norm_momentum(self) -> float:
        return self.momentum

    @property
    def sigma(self) -> Sigma:
        scale = self.side / SIDE_OF_II
        start, end = self.sigma_start or SIGMA_OF_II[0] * scale, self.sigma_end or SIGMA_OF_II[1] * scale
        return Sigma(self.sigma_schedule, start, end, self.epochs)

    @property
    def learning_rate(self) -> LearningRate:
        sigma = self.sigma
        return LearningRate(self.schedule, self.rate, self.epochs, final_rate(self.rate, sigma.start, sigma.end))

    def to_toml(self) -> str:
        """Every field on a line, with what it means."""
        lines = []
        for entry in fields(self):
            lines.append(f"{entry.name} = {json.dumps(getattr(self, entry.name))}  # {entry.metadata['help']}")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Raises FileNotFoundError, or ValueError, naming the file, for text that is not TOML and fields that do not exist or
        have values that they cannot."""
        values = read_toml(path)
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Raises ValueError for fields that do not exist or have values that they cannot."""
        _check_names(values, "the configuration")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"the configuration: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def check_resumable(self, saved: TrainConfig) -> None:
        """Raises ValueError naming the first field that differs from the run's own and would change its result."""
        for entry in fields(self):
            ours, theirs = getattr(self, entry.name), getattr(saved, entry.name)
            if ours != theirs and not entry.metadata["free"]:
                raise ValueError(
                    f"cannot resume: {entry.name} is {ours!r}, but the run was started with {theirs!r}; "
                    "leave it out, or start a new run with --init"
                )


LONGEST = 32 << 10  # bytes of a configuration; all options with their meanings have a tenth


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Fields of a configuration file; whole numbers are taken for fields that are floats."""
    if (size := os.path.getsize(path)) > LONGEST:  # keys of many dots take the square of their length
        raise ValueError(f"{path} has {size} bytes, a configuration has {LONGEST} at most")
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    _check_names(values, str(path))
    return values


def _check_names(values: Mapping[str, Any], where: str) -> None:
    known = [entry.name for entry in fields(TrainConfig)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{where} has the field {unknown[0]!r}, expected some of {', '.join(known)}")
