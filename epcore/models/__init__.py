"""The networks: configurations as data, builders, and the classes that users hold."""

from epcore.models.efficientnet import EfficientNet
from epcore.models.efficientpose import EfficientPose, PoseOutputs
from epcore.models.lite import EfficientPoseLite
from epcore.models.openpose import OpenPose
from epcore.models.variants import build_network

__all__ = ["EfficientNet", "EfficientPose", "EfficientPoseLite", "OpenPose", "PoseOutputs", "build_network"]
