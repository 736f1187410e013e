"""A body of sticks in three dimensions: proportions, plausible joint angles, places of the joints.

Axes: x to the right of the picture, y up, z to the viewer; lengths as shares of the person's stature. A body that is not
turned faces the viewer, its left on +x. Proportions follow the usual anthropometric tables; ranges of angles are chosen here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from epcore.pose.skeleton import KEYPOINTS

Rng = np.random.Generator
SIDES = {"right": -1.0, "left": 1.0}


@dataclass(frozen=True)
class Variety:
    """How much the synthetic pictures vary. Probabilities are per picture; the defaults are the documented difficulty.

    back, side: share of persons seen from behind and from the side, the rest from the front. sitting, crouching, walking:
    share of these poses, the rest stands. raised: probability that an arm is raised above the shoulder. tilt: standard
    deviation, degrees, of the camera's roll. smallest, largest: larger side of the keypoints' bounding box as a share of the
    picture's side. truncated: a part of the body lies outside the picture. occluded: something hides a part of the body.
    crowded: another, annotated person is in the picture. clutter: mean number of things in the background. decoys: mean number
    of arms and legs that belong to nobody. blurred: blur. noise: largest standard deviation of the noise, grey levels.
    """

    back: float = 0.22
    side: float = 0.12
    sitting: float = 0.1
    crouching: float = 0.08
    walking: float = 0.22
    raised: float = 0.2
    tilt: float = 6.0
    smallest: float = 0.55
    largest: float = 0.86
    truncated: float = 0.08
    occluded: float = 0.12
    crowded: float = 0.08
    clutter: float = 5.0
    decoys: float = 0.3
    blurred: float = 0.25
    noise: float = 8.0


VARIETIES = {
    "easy": Variety(
        back=0.15, side=0, sitting=0, crouching=0, walking=0.2, raised=0.15, tilt=3, smallest=0.7, truncated=0, occluded=0,
        crowded=0, clutter=2, decoys=0, blurred=0.1, noise=4,
    ),
    "default": Variety(),
    "hard": Variety(
        back=0.3, side=0.3, sitting=0.18, crouching=0.15, walking=0.25, raised=0.3, tilt=15, smallest=0.35, largest=0.95,
        truncated=0.25, occluded=0.4, crowded=0.35, clutter=12, decoys=1.5, blurred=0.4, noise=16,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Proportions:
    """Lengths and half widths as shares of the stature."""

    head: float
    neck: float
    torso: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    thigh: float
    shank: float
    girth: float  # factor on every thickness

    @classmethod
    def sample(cls, rng: Rng) -> Proportions:
        vary = rng.normal(1, 0.05, 9).clip(0.88, 1.12)
        child = max(0.0, rng.normal(-0.6, 0.8)) * 0.15  # children: larger heads, shorter legs
        lengths = np.array([0.132, 0.048, 0.29, 0.112, 0.056, 0.172, 0.15, 0.243, 0.24]) * vary
        lengths[0] *= 1 + 1.3 * child
        lengths[7:] *= 1 - 0.5 * child
        girth = min(max(rng.normal(1, 0.12), 0.78), 1.35)
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, [*lengths.tolist(), girth], strict=True)))


@dataclass(frozen=True)
class Body:
    """joints: name -> (3,), keypoints and hands, toes. chest, hips, head: rotations (3,3), columns left, up, forward."""

    joints: dict[str, np.ndarray]
    chest: np.ndarray
    hips: np.ndarray
    head: np.ndarray
    proportions: Proportions
    sitting: bool

    @property
    def keypoints(self) -> np.ndarray:
        """(J,3)."""
        return np.array([self.joints[name] for name in KEYPOINTS])


def sample_body(rng: Rng, variety: Variety) -> Body:
    """A person of random build in a random pose, seen from a random side."""
    build = Proportions.sample(rng)
    camera = about_z(math.radians(variety.tilt) * rng.normal()) @ about_x(rng.normal(0.05, 0.1))
    pose = _choose(rng, sitting=variety.sitting, crouching=variety.crouching, walking=variety.walking)
    turned = _choose(rng, back=variety.back, side=variety.side)
    yaw = rng.normal(0, 0.4)
    if turned == "back":
        yaw = math.pi + rng.normal(0, 0.4)
    elif turned == "side":
        yaw = rng.choice([-1, 1]) * rng.normal(math.pi / 2, 0.25)

    lean = {"crouching": rng.uniform(0.2, 0.8), "walking": rng.normal(0.1, 0.12), "sitting": rng.normal(0.05, 0.15)}
    hips = camera @ about_y(yaw)
    bow = lean.get(pose, rng.normal(0.03, 0.1))
    chest = hips @ about_y(rng.normal(0, 0.15)) @ about_x(bow) @ about_z(rng.normal(0, 0.1))
    head = chest @ about_y(rng.normal(0, 0.3)) @ about_x(rng.normal(0.05, 0.15)) @ about_z(rng.normal(0, 0.1))

    joints = {"pelvis": np.zeros(3)}
    joints["thorax"] = joints["pelvis"] + build.torso * chest[:, 1]
    joints["upper_neck"] = joints["thorax"] + build.neck * (0.5 * chest[:, 1] + 0.5 * head[:, 1] + 0.2 * head[:, 2])
    joints["head_top"] = joints["upper_neck"] + build.head * head[:, 1]
    _add_arms(joints, rng, build, chest, variety)
    _add_legs(joints, rng, build, hips, pose)
    return Body(joints, chest, hips, head, build, pose == "sitting")


def _add_arms(joints: dict[str, np.ndarray], rng: Rng, build: Proportions, chest: np.ndarray, variety: Variety) -> None:
    together = rng.random() < 0.3  # both arms do the same
    drawn = [_arm(rng, variety)]
    drawn.append(drawn[0] if together else _arm(rng, variety))
    for (name, side), (rise, azimuth, bend, twist) in zip(SIDES.items(), drawn, strict=True):
        lift = 0.03 * max(0.0, rise - 1.6)
        shoulder = joints["thorax"] + chest @ np.array([side * build.shoulder, lift - 0.012, 0])
        upper = np.array([side * math.sin(rise) * math.cos(azimuth), -math.cos(rise), math.sin(rise) * math.sin(azimuth)])
        aim = np.array([-side * twist[0], twist[1], twist[2]])  # where the forearm bends to: inwards, up, forwards
        aim -= upper * (aim @ upper)
        aim /= max(1e-6, math.sqrt(aim @ aim))
        fore = math.cos(bend) * upper + math.sin(bend) * aim
        joints[f"{name}_shoulder"] = shoulder
        joints[f"{name}_elbow"] = shoulder + build.upper_arm * (chest @ upper)
        joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + build.forearm * (chest @ fore)
        joints[f"{name}_hand"] = joints[f"{name}_wrist"] + 0.055 * (chest @ fore)


def _arm(rng: Rng, variety: Variety) -> tuple[float, float, float, np.ndarray]:
    """Angle from hanging down, azimuth from sideways to forwards, bend of the elbow, weights of where it bends to."""
    kind = rng.random()
    if kind < variety.raised:
        rise, azimuth, bend = rng.uniform(1.7, 2.9), rng.uniform(-0.2, 0.9), rng.uniform(0, 1.9)
        return rise, azimuth, bend, np.array([rng.uniform(-0.3, 1), rng.uniform(0.2, 1), rng.uniform(0, 0.7)])
    if kind < variety.raised + 0.35 * (1 - variety.raised):
        rise, azimuth, bend = rng.uniform(0.5, 1.6), rng.uniform(-0.3, 1.3), rng.uniform(0, 2.2)
        return rise, azimuth, bend, np.array([rng.uniform(0, 1), rng.uniform(-0.8, 1), rng.uniform(0, 1)])
    rise, azimuth, bend = abs(rng.normal(0.2, 0.15)), rng.uniform(-0.5, 0.8), abs(rng.normal(0.25, 0.4))
    return rise, azimuth, min(bend, 2.2), np.array([rng.uniform(0, 0.7), 0.1, rng.uniform(0.3, 1)])


def _add_legs(joints: dict[str, np.ndarray], rng: Rng, build: Proportions, hips: np.ndarray, pose: str) -> None:
    stride, spread, depth = rng.normal(0.45, 0.2), abs(rng.normal(0.12, 0.1)), rng.uniform(0.9, 1.5)
    lead = rng.choice([-1.0, 1.0])
    for name, side in SIDES.items():
        lift = abs(rng.normal(0, 0.06))
        raise_, bend = lift + rng.normal(0, 0.05), 2 * lift
        out = spread + rng.normal(0, 0.05)
        if pose == "walking":
            raise_ = stride * (1.0 if side == lead else -0.8)
            bend = max(0.0, rng.normal(0.35, 0.25)) + (0.5 * max(0.0, stride) if side != lead else 0.0)
        elif pose == "sitting":
            raise_, bend, out = rng.normal(1.45, 0.1), rng.normal(1.45, 0.2), out + 0.1
        elif pose == "crouching":
            raise_ = depth + rng.normal(0, 0.1)
            bend, out = raise_ + rng.uniform(0.3, 0.7), out + rng.uniform(0, 0.25)
        bend = min(max(bend, 0.0), 2.4)
        hip = joints["pelvis"] + hips @ np.array([side * build.hip, 0, 0])
        cosine, sine = math.cos(raise_), math.sin(raise_)
        thigh = np.array([side * math.sin(out), -math.cos(out) * cosine, math.cos(out) * sine])
        behind = np.array([0.0, -sine, -cosine])  # where the knee bends to
        shank = math.cos(bend) * thigh + math.sin(bend) * behind
        fore = math.sin(bend) * thigh - math.cos(bend) * behind
        toes = fore + np.array([side * 0.25, 0, 0]) + shank * rng.uniform(0.1, 0.5)
        joints[f"{name}_hip"] = hip
        joints[f"{name}_knee"] = hip + build.thigh * (hips @ thigh)
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + build.shank * (hips @ shank)
        joints[f"{name}_heel"] = joints[f"{name}_ankle"] + 0.022 * (hips @ shank)
        joints[f"{name}_toes"] = joints[f"{name}_heel"] + 0.085 * (hips @ toes) / math.sqrt(toes @ toes)


def _choose(rng: Rng, **shares: float) -> str:
    draw = rng.random()
    for name, share in shares.items():
        if draw < share:
            return name
        draw -= share
    return "other"


def about_x(angle: float) -> np.ndarray:
    """Positive: what is up comes forward."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> np.ndarray:
    """Positive: what is forward turns to the right of the picture."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
