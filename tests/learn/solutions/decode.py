import numpy as np


def decode(maps):
    H, W, J = maps.shape
    flat = maps.reshape(-1, J)
    cell = flat.argmax(0)
    scores = flat.max(0)
    points = np.stack([(cell % W + 0.5) / W, (cell // W + 0.5) / H], axis=1)
    points[scores < 0.3] = np.nan
    return points, scores
