"""What a configuration names: the data sets, the network and where its weights come from."""

from __future__ import annotations

import os

from epcore.data.augment import Augmentation
from epcore.data.preparation import Dataset
from epcore.data.synthetic import SyntheticFigures
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint, is_checkpoint
from epcore.train.config import TrainConfig
from epcore.train.run_folder import checkpoint_path
from epcore.weights_tools.published import find_weights


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


def build_model(config: TrainConfig, *, start: bool = True) -> EfficientPose:
    """The network with its first weights. Raises FileNotFoundError or ValueError for files that do not fit.

    start False: with random ones, because a checkpoint's follow; the files that the run started from may be gone.
    """
    model = EfficientPose(config.variant, seed=config.seed)
    if not start:
        return model
    if config.init_low and (config.init == "none" or model.config.low is None):
        raise ValueError(
            f"init_low is {config.init_low!r}, but "
            + (f"EfficientPose {model.config.name} has no low branch" if model.config.low is None else "init is 'none'")
        )
    if config.init != "none":
        load_start(model, config.init, low=config.init_low or None)
    return model


def load_start(model: EfficientPose, path: str | os.PathLike[str], *, low: str | None = None) -> None:
    """Weights from a run's folder, a checkpoint, or a file of a pose network or of backbones as `load_weights` takes them.

    A network's name, where no file or folder is called so, is the published file for it (`find_weights`).
    """
    path = checkpoint_path(path if os.path.isdir(path) else find_weights(path))
    if is_checkpoint(path):
        Checkpoint.load(path).restore(model, path, evaluated=True)
    else:
        from epcore.weights_tools.load import load_weights

        load_weights(model, path, low=low)
