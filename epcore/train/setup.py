"""What a configuration names: the data sets, the network and where its weights come from."""

from __future__ import annotations

import os
from pathlib import Path

from epcore.data.augment import Augmentation
from epcore.data.loader import Dataset
from epcore.data.synthetic import SyntheticFigures
from epcore.models import EfficientNet, EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig

CHECKPOINT, BEST = "checkpoint.npz", "best.npz"  # in a run's folder


def train_data(config: TrainConfig) -> Dataset:
    if config.data == "mpii":
        from epcore.data.mpii import MPII

        return MPII(
            config.folder, "train", split_seed=config.split_seed, split_file=config.train_split or None,
            skip_broken=config.skip_broken,
        )  # fmt: skip
    return SyntheticFigures(
        config.pictures, seed=config.seed, split="train", size=config.side, variety=config.variety, fresh=not config.repeat
    )


def validation_data(config: TrainConfig) -> Dataset:
    """Of MPII the first `validation_pictures` persons of the split that have a head box."""
    if config.data == "mpii":
        from epcore.data.mpii import MPII

        data = MPII(
            config.folder, "validation", split_seed=config.split_seed, split_file=config.validation_split or None,
            skip_broken=config.skip_broken, need_head_box=True,
        )  # fmt: skip
        data.records = data.records[: config.validation_pictures]
        return data
    return SyntheticFigures(
        config.validation_pictures, seed=config.seed, split="validation", size=config.side, variety=config.variety
    )


def augmentation(config: TrainConfig) -> Augmentation:
    return Augmentation(config.flip, (config.scale_min, config.scale_max), config.rotation)


def build_model(config: TrainConfig) -> EfficientPose:
    """The network with its first weights. Raises FileNotFoundError or ValueError for files that do not fit."""
    model = EfficientPose(config.variant, seed=config.seed)
    if config.init != "none":
        load_start(model, config.init)
    if config.init_low:
        if model.config.low is None:
            raise ValueError(f"init_low is {config.init_low!r}, but EfficientPose {model.config.name} has no low branch")
        _load_backbone(model, config.init_low, model.config.low, 2, "low.")
    return model


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The path itself, or of a run's folder its best checkpoint, else its last. Raises FileNotFoundError."""
    path = Path(path)
    if path.is_dir():
        path = path / BEST if (path / BEST).exists() else path / CHECKPOINT
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def load_start(model: EfficientPose, path: str | os.PathLike[str]) -> None:
    """Weights from a run's folder (its best, else last), a checkpoint (.npz), a pose network (.h5) or a backbone (.h5)."""
    path = checkpoint_path(path)
    if path.suffix == ".npz":
        Checkpoint.load(path).restore(model, path, evaluated=True)
        return
    from epcore.weights_tools.keras_h5 import read_keras_h5
    from epcore.weights_tools.load import load_weights

    if any(layer.startswith("pass") for layer, _ in read_keras_h5(path).arrays):
        load_weights(model, path)
    else:
        _load_backbone(model, path, model.config.high, 3, "high.")


def _load_backbone(model: EfficientPose, path: str | os.PathLike[str], scale: str, blocks: int, prefix: str) -> None:
    from epcore.weights_tools.load import load_weights

    backbone = EfficientNet(scale, blocks=blocks)
    load_weights(backbone, path)
    for name, array in backbone.parameters.items():
        if prefix + name in model.parameters:  # the low branch lacks nothing but its last residual sum
            model.parameters[prefix + name] = array
