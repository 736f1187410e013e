"""A drawn figure and where its keypoints are. It is stored because drawing it would compile the painter, which takes seconds.

from epcore.data.synthetic import SyntheticFigures
SyntheticFigures(8, seed=2020, split="test", size=128).record(7)        # the same
"""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).parent / "figure.png"  # 128x128
# (16,2) x, y in pixels, in the order of `epcore.pose.skeleton.KEYPOINTS`; the head's box x1, y1, x2, y2.
KEYPOINTS = (
    (26.67, 31.14), (30.23, 49.76), (17.75, 52.77), (9.65, 34.96), (18.94, 21.22), (31.32, 54.72),
    (44.88, 55.89), (50.74, 75.36), (45.61, 86.81), (32.11, 91.01), (25.14, 90.09), (24.14, 87.63),
    (20.89, 112.39), (39.08, 91.93), (49.95, 91.09), (48.24, 117.70),
)  # fmt: skip
HEAD_BOX = (20.77, 31.01, 36.14, 49.89)
