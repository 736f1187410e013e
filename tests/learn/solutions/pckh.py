import numpy as np


def pckh(predictions, keypoints, annotated, head_boxes, tau=0.5):
    sides = head_boxes[:, 2:] - head_boxes[:, :2]
    size = 0.6 * np.hypot(sides[:, 0], sides[:, 1])
    distances = np.hypot(*np.moveaxis(predictions - keypoints, 2, 0))
    hits = distances <= tau * size[:, None] * (1 + 1e-12)
    return 100 * hits[annotated].mean()
