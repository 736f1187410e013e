"""The networks: configurations as data, builders, and the classes that users hold."""

from epcore.models.efficientnet import EfficientNet
from epcore.models.efficientpose import EfficientPose, PoseOutputs

__all__ = ["EfficientNet", "EfficientPose", "PoseOutputs"]
