"""A person on the canvas: a body in its clothes, placed in the picture, every part painted from the farthest to the nearest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from epcore.data import paint
from epcore.data.body import SIDES, Body
from epcore.data.hulls import hull
from epcore.data.looks import Looks
from epcore.pose.skeleton import KEYPOINTS

# Parts: what a pixel can belong to. A keypoint is seen where one of its parts is.
LIMBS = ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
PARTS = ("torso", "head", "neck", *(f"{side}_{limb}" for side in SIDES for limb in LIMBS))
_SEEN_ON = {"head_top": ("head",), "upper_neck": ("neck", "head"), "thorax": ("torso", "neck", "head"), "pelvis": ("torso",)}
for _side in SIDES:
    _SEEN_ON |= {
        f"{_side}_shoulder": (f"{_side}_upper_arm", "torso"),
        f"{_side}_elbow": (f"{_side}_upper_arm", f"{_side}_forearm"),
        f"{_side}_wrist": (f"{_side}_forearm", f"{_side}_hand"),
        f"{_side}_hip": (f"{_side}_thigh", "torso"),
        f"{_side}_knee": (f"{_side}_thigh", f"{_side}_shank"),
        f"{_side}_ankle": (f"{_side}_shank", f"{_side}_foot"),
    }


@dataclass(frozen=True)
class Figure:
    """A body placed in the picture. screen: joint -> (3,) pixels x, y (down), z (to the viewer). stature: pixels."""

    body: Body
    looks: Looks
    screen: dict[str, np.ndarray]
    stature: float
    first_part: int  # number of its first part in the owner map

    @classmethod
    def place(cls, body: Body, looks: Looks, centre: tuple[float, float], stature: float, first_part: int) -> Figure:
        """Centre of the keypoints' bounding box and stature in pixels; parallel projection."""
        points = body.keypoints
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        flip = np.array([stature, -stature, stature])
        offset = np.array([centre[0], centre[1], 0])
        screen = {name: (joint - middle) * flip + offset for name, joint in body.joints.items()}
        return cls(body, looks, screen, stature, first_part)

    @property
    def keypoints(self) -> np.ndarray:
        """(J,2) pixels."""
        return np.array([self.screen[name][:2] for name in KEYPOINTS])

    def head_ellipse(self) -> np.ndarray:
        """(6,): centre x, y, unit x, y of the long axis (upwards), half width, half length; pixels.

        Its top is the keypoint head_top, its lower end lies at upper_neck, as in MPII.
        """
        top, neck = self.screen["head_top"], self.screen["upper_neck"]
        half = 0.4 * self.stature * self.body.proportions.head
        centre, along = (top + neck) / 2, (top - neck)[:2]
        length = float(np.hypot(*along))
        axis = along / length if length > 1e-6 else np.array([0.0, -1.0])
        # an ellipsoid seen at an angle: its half length shrinks towards the half width
        full = 0.5 * self.stature * self.body.proportions.head
        share = min(1.0, length / (2 * full))
        return np.array([centre[0], centre[1], axis[0], axis[1], half, np.sqrt((full * share) ** 2 + half**2 * (1 - share**2))])

    def head_box(self) -> np.ndarray:
        """(4,) x1, y1, x2, y2 pixels: the smallest upright box around the head."""
        cx, cy, ax, ay, half, long = self.head_ellipse()
        reach_x, reach_y = np.hypot(long * ax, half * ay), np.hypot(long * ay, half * ax)
        return np.array([cx - reach_x, cy - reach_y, cx + reach_x, cy + reach_y])

    def visible(self, owner: np.ndarray) -> np.ndarray:
        """(J,) bool: the keypoint's own parts are what the picture shows around it. owner (S,S) int16."""
        visible = np.zeros(len(KEYPOINTS), bool)
        centre = self.head_ellipse()[:2]
        for index, name in enumerate(KEYPOINTS):
            x, y = self.screen[name][:2]
            if name == "head_top":
                x, y = np.array([x, y]) + 0.25 * (centre - (x, y))
            i, j = int(np.floor(y)), int(np.floor(x))
            if 0 <= i < owner.shape[0] and 0 <= j < owner.shape[1]:
                part = int(owner[i, j]) - self.first_part
                visible[index] = 0 <= part < len(PARTS) and PARTS[part] in _SEEN_ON[name]
        return visible

    def draw(self, canvas: np.ndarray, owner: np.ndarray, light: np.ndarray) -> None:
        """Paint the person."""
        pieces = [*self._limbs(), *self._trunk(), *self._head()]
        for _, function, part, arguments in sorted(pieces, key=lambda piece: piece[0]):
            number = self.first_part + PARTS.index(part)
            function(canvas, owner, number, *arguments, light)

    def _capsule(
        self,
        part: str,
        ends: tuple[str, str],
        radii: tuple[float, float],
        colours: tuple[np.ndarray, np.ndarray, np.ndarray],
        *,
        nearer: float = 0.0,
        bulge: float = 0.0,
        style: tuple[float, float, float, float] = (1, 0, 0, 0),
    ) -> Piece:
        """A limb between two joints; radii and nearer (what it lies in front of its axis) as shares of the stature."""
        (ax, ay, az), (bx, by, bz) = self.screen[ends[0]], self.screen[ends[1]]
        unit = self.stature * self.body.proportions.girth
        shape = np.array([ax, ay, radii[0] * unit, bx, by, radii[1] * unit, bulge])
        depth = (az + bz) / 2
        dimmed = 1 + 0.18 * min(1.0, max(-1.0, depth / (0.15 * self.stature)))  # what is far away is darker
        arguments = (shape, np.array(colours) * dimmed, np.array(style, np.float64))
        return depth + nearer * self.stature, paint.capsule, part, arguments

    def _limbs(self) -> list[Piece]:
        looks = self.looks
        skin, shoes = (looks.skin,) * 3, (looks.shoes,) * 3
        shirt = (looks.shirt, looks.skin, looks.print)
        trousers = (looks.trousers, looks.skin, looks.print)
        sleeved, covered = looks.sleeve > 0, looks.sleeve > 1
        cuff = min(looks.sleeve, 1.0), looks.sleeve - 1  # where the sleeve ends on upper arm and forearm; from 1 on: not there
        hem = min(looks.leg, 1.0), looks.leg - 1
        cloth = 0.004 * sleeved  # its thickness
        ring = looks.stripes * self.stature
        pieces = []
        for side in SIDES:
            shoulder, elbow, wrist, hand = (f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hand"))
            hip, knee, ankle, heel, toes = (f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "heel", "toes"))
            pieces += [
                self._capsule(
                    f"{side}_upper_arm", (shoulder, elbow), (0.036 + cloth, 0.029 + cloth), shirt if sleeved else skin,
                    nearer=0.02, bulge=0.06, style=(cuff[0] if sleeved else 1, ring * sleeved, 0.5, looks.seam * sleeved),
                ),
                self._capsule(
                    f"{side}_forearm", (elbow, wrist), (0.029, 0.019), shirt if covered else skin,
                    nearer=0.022, bulge=0.1, style=(cuff[1] if covered else 1, ring * covered, 0.5, looks.seam * covered),
                ),
                self._capsule(f"{side}_hand", (wrist, hand), (0.02, 0.021), skin, nearer=0.024, bulge=0.2),
                self._capsule(
                    f"{side}_thigh", (hip, knee), (0.058, 0.042), trousers,
                    nearer=-0.03, bulge=0.04, style=(hem[0], 0, 0, looks.seam),
                ),
                self._capsule(
                    f"{side}_shank", (knee, ankle), (0.041, 0.026), trousers if looks.leg > 1 else skin,
                    nearer=-0.032, bulge=0.12, style=(hem[1] if looks.leg > 1 else 1, 0, 0, looks.seam * (looks.leg > 1)),
                ),
                self._capsule(f"{side}_foot", (heel, toes), (0.028, 0.02), shoes, nearer=-0.028, bulge=0.1),
            ]  # fmt: skip
        return pieces

    def _disc(self, joint: str, radius: float, towards: str = "", share: float = 0.0) -> tuple[float, float, float]:
        x, y, _ = self.screen[joint] + (share * (self.screen[towards] - self.screen[joint]) if towards else 0)
        return float(x), float(y), radius * self.stature * self.body.proportions.girth

    def _trunk(self) -> list[Piece]:
        looks, screen = self.looks, self.screen
        thorax, pelvis = screen["thorax"], screen["pelvis"]
        axis = np.array([thorax[0], thorax[1], pelvis[0], pelvis[1]])
        along = axis[2:] - axis[:2]
        along /= max(1e-6, np.hypot(*along))
        fore = self.body.chest[:, 2] * (1, -1, 1)
        style = looks.torso_style.copy()
        style[paint.FACING] = np.arctan2(fore[:2] @ (along[1], -along[0]), fore[2])
        colours = np.array([looks.shirt, looks.inner, looks.skin, looks.print, looks.inner, looks.trousers, looks.belt])
        shoulders = [self._disc(f"{side}_shoulder", 0.05, "pelvis", 0.06) for side in SIDES]
        waist = [self._disc(f"{side}_hip", 0.056, f"{side}_shoulder", 0.42) for side in SIDES]
        hips = [self._disc(f"{side}_hip", 0.062, "pelvis", 0.1) for side in SIDES]
        top = [self._disc("thorax", 0.045, "upper_neck", 0.1)]
        depth = (thorax[2] + pelvis[2]) / 2
        pieces: list[Piece] = []
        for number, discs in enumerate((waist + hips, shoulders + waist + top)):
            corners = hull(np.array(discs), 16)
            pieces.append((depth + 0.001 * number * self.stature, paint.torso, "torso", (corners, axis, colours, style)))
        if looks.skirt:
            skirt = hips + [self._disc(f"{side}_hip", 0.085, f"{side}_knee", 0.75) for side in SIDES]
            shape = hull(np.array(skirt), 16)
            knees = (screen["left_knee"] + screen["right_knee"]) / 2
            across = np.array([pelvis[0], pelvis[1], knees[0], knees[1]])
            plain = np.zeros(9)
            plain[paint.HEM] = 9.0
            plain[paint.STRIPES] = looks.torso_style[paint.STRIPES]
            cloth = np.array([looks.trousers, *colours[1:]])
            front = (pelvis[2] + knees[2]) / 2
            pieces.append((max(front, pelvis[2] - 0.02 * self.stature), paint.torso, "torso", (shape, across, cloth, plain)))
        if looks.backpack:
            pieces.append(self._backpack(axis, style))
        pieces.append(self._capsule("neck", ("thorax", "upper_neck"), (0.032, 0.03), (looks.skin,) * 3))
        return pieces

    def _backpack(self, axis: np.ndarray, style: np.ndarray) -> Piece:
        """Behind the back: in front of the torso where the person is seen from behind, else a rim beside it."""
        back = -self.body.chest[:, 2] * (1, -1, 1)
        ends = [self.screen["thorax"] * (1 - t) + self.screen["pelvis"] * t + 0.085 * self.stature * back for t in (0.18, 0.68)]
        discs = [
            (*(end + side * 0.055 * self.stature * self.body.chest[:, 0] * (1, -1, 1))[:2].tolist(), 0.04 * self.stature)
            for end in ends
            for side in SIDES.values()
        ]
        plain = np.zeros(9)
        plain[[paint.FACING, paint.HEM, paint.STRIPES]] = style[paint.FACING], 9, 0.5
        colours = np.array([self.looks.belt, self.looks.inner, *[self.looks.shoes] * 5])
        depth = (ends[0][2] + ends[1][2]) / 2
        return depth, paint.torso, "torso", (hull(np.array(discs), 12), axis, colours, plain)

    def _head(self) -> list[Piece]:
        looks, frame = self.looks, self.body.head * np.array([[1], [-1], [1]])
        ellipse = self.head_ellipse()
        half, depth = ellipse[4], self.screen["upper_neck"][2] + 0.03 * self.stature
        centre = np.array([ellipse[0], ellipse[1], 0])
        left, up, fore = frame.T
        light_skin = looks.skin * 0.9
        mouth = looks.skin * (0.75, 0.45, 0.45)
        colours = np.array([looks.skin, looks.hair, (0.08, 0.06, 0.06), mouth, looks.hat])
        pieces: list[Piece] = [(depth, paint.head, "head", (ellipse, np.ascontiguousarray(frame.T), colours, looks.head_style))]

        def blob(start: np.ndarray, end: np.ndarray, radii: tuple[float, float], colour: np.ndarray, offset: float) -> Piece:
            shape = np.array([*start[:2], radii[0] * half, *end[:2], radii[1] * half, 0.0])
            return depth + offset, paint.capsule, "head", (shape, np.array([colour] * 3), np.array([1.0, 0, 0, 0]))

        for side in (-1, 1):
            ear = centre + half * (side * 0.98 * left - 0.02 * up)
            pieces.append(blob(ear, ear - 0.15 * half * up, (0.2, 0.16), light_skin, half * (side * left[2]) - 0.1))
        nose = centre + half * (0.85 * fore - 0.05 * up)
        if fore[2] < 0.85:
            pieces.append(blob(nose, nose + half * (0.3 * fore - 0.2 * up), (0.1, 0.14), looks.skin, half * fore[2]))
        if looks.head_style[paint.HAT_EDGE] < 1:  # the peak of a cap
            brim = centre + half * (0.8 * fore + 0.5 * up)
            pieces.append(blob(brim, brim + half * 0.7 * fore, (0.35, 0.25), looks.hat, half * fore[2]))
        if looks.long_hair:
            nape = centre - half * 0.45 * fore
            end = nape - half * 1.7 * up
            pieces.append(blob(nape, end, (0.85, 0.65), looks.hair, -half * fore[2]))
        return pieces


Piece = tuple[float, Callable[..., None], str, tuple[np.ndarray, ...]]  # depth, painter, part, its arguments
