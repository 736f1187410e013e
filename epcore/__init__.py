"""epcore: a from-scratch NumPy/CuPy reference implementation of EfficientPose (Groos, Ramampiaro, Ihlen 2020).

    import epcore

    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, "EfficientPoseRT.h5")
    pose = epcore.predict("photo.jpg", model)

Start reading at `epcore/ops` (one operator a file: equation, forward, backward), then `epcore/models/efficientpose.py`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (Path(__file__).parent / "kernels").is_dir():  # a checkout whose file system has no symbolic links
    __path__.append(str(Path(__file__).parent.parent))

from epcore.base.version import VERSION

if TYPE_CHECKING:
    from epcore.backend import use_backend
    from epcore.export.keras import export_keras
    from epcore.export.onnx import export_onnx
    from epcore.export.weights import export_weights
    from epcore.inference.compile import compile
    from epcore.inference.plan import Plan, Profile
    from epcore.inference.step import NoPlanError
    from epcore.models import EfficientNet, EfficientPose, EfficientPoseLite, OpenPose, PoseOutputs, build_network
    from epcore.network import Network
    from epcore.not_numbers import NotNumbersError
    from epcore.ops import OPS
    from epcore.pose.box import Box
    from epcore.pose.predict import Keypoint, Pose, predict
    from epcore.pose.predict_many import predict_many
    from epcore.tape import Tape, Tensor
    from epcore.threads import get_threads, set_threads
    from epcore.train.config import TrainConfig
    from epcore.train.trainer import DivergedError, Trainer
    from epcore.weights_tools.load import load_weights
    from epcore.weights_tools.manifest import Manifest

__version__ = VERSION

__all__ = [
    "OPS",
    "Box",
    "DivergedError",
    "EfficientNet",
    "EfficientPose",
    "EfficientPoseLite",
    "Keypoint",
    "Manifest",
    "Network",
    "NoPlanError",
    "NotNumbersError",
    "OpenPose",
    "Plan",
    "Pose",
    "PoseOutputs",
    "Profile",
    "Tape",
    "Tensor",
    "TrainConfig",
    "Trainer",
    "build_network",
    "compile",
    "export_keras",
    "export_onnx",
    "export_weights",
    "get_threads",
    "load_weights",
    "predict",
    "predict_many",
    "set_threads",
    "use_backend",
]

# Imported at first use: NumPy, h5py, Pillow, SciPy and Numba take longer to import than the networks to build, and a command
# line that is interrupted meanwhile can say so only when it has begun.
_LAZY = {
    "epcore.backend": ("use_backend",),
    "epcore.export.keras": ("export_keras",),
    "epcore.export.onnx": ("export_onnx",),
    "epcore.export.weights": ("export_weights",),
    "epcore.inference.compile": ("compile",),
    "epcore.inference.plan": ("Plan", "Profile"),
    "epcore.inference.step": ("NoPlanError",),
    "epcore.models": ("EfficientNet", "EfficientPose", "EfficientPoseLite", "OpenPose", "PoseOutputs", "build_network"),
    "epcore.network": ("Network",),
    "epcore.not_numbers": ("NotNumbersError",),
    "epcore.ops": ("OPS",),
    "epcore.pose.box": ("Box",),
    "epcore.pose.predict": ("Keypoint", "Pose", "predict"),
    "epcore.pose.predict_many": ("predict_many",),
    "epcore.tape": ("Tape", "Tensor"),
    "epcore.threads": ("get_threads", "set_threads"),
    "epcore.train.config": ("TrainConfig",),
    "epcore.train.trainer": ("DivergedError", "Trainer"),
    "epcore.weights_tools.load": ("load_weights",),
    "epcore.weights_tools.manifest": ("Manifest",),
}


_MODULES = ("backend", "models", "network", "ops", "tape", "threads")  # that are there without being imported by name


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"epcore.{name}")
    for module, names in _LAZY.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'epcore' has no attribute {name!r}")
