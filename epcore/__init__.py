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

from epcore.backend import use_backend
from epcore.models import EfficientNet, EfficientPose, EfficientPoseLite, OpenPose, PoseOutputs, build_network
from epcore.ops import OPS
from epcore.tape import Tape, Tensor
from epcore.threads import get_threads, set_threads

if TYPE_CHECKING:
    from epcore.inference import Plan
    from epcore.inference.compile import compile
    from epcore.pose import Pose, predict
    from epcore.weights_tools.load import load_weights

__version__ = "0.1.0"

__all__ = [
    "OPS",
    "EfficientNet",
    "EfficientPose",
    "EfficientPoseLite",
    "OpenPose",
    "Plan",
    "Pose",
    "PoseOutputs",
    "Tape",
    "Tensor",
    "build_network",
    "compile",
    "get_threads",
    "load_weights",
    "predict",
    "set_threads",
    "use_backend",
]

_LAZY = {  # imported at first use: h5py, Pillow, SciPy and Numba take longer to import than the networks to build
    "Plan": "epcore.inference",
    "compile": "epcore.inference.compile",
    "Pose": "epcore.pose",
    "predict": "epcore.pose",
    "load_weights": "epcore.weights_tools.load",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'epcore' has no attribute {name!r}")
