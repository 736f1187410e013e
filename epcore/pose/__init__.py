"""From a picture to keypoints: read, preprocess, run the network, decode, draw."""

from epcore.pose.box import Box
from epcore.pose.decode import decode
from epcore.pose.draw import draw_pose
from epcore.pose.group import group
from epcore.pose.picture import read_picture
from epcore.pose.predict import Keypoint, Pose, predict
from epcore.pose.preprocess import MEAN, STD, Geometry, fit_square, normalize, preprocess

__all__ = [
    "MEAN",
    "STD",
    "Box",
    "Geometry",
    "Keypoint",
    "Pose",
    "decode",
    "draw_pose",
    "fit_square",
    "group",
    "normalize",
    "predict",
    "preprocess",
    "read_picture",
]
