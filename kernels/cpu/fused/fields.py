"""Positions of a step's numbers in its row of the program, shared by the encoder and the kernels.

All offsets are elements into the arena. A tensor is an offset, the distance between images (`_IMAGE`) and the distance
between pixels (`_PIXEL`, larger than its channel count where the tensor is a slice of a concatenation). Rows follow each
other without gaps: pixel (n, y, x) is at offset + n * IMAGE + (y * W + x) * PIXEL.
"""

from __future__ import annotations

# What a step does.
READ, STEM, POINTWISE, DEPTHWISE, GATE, ADD, COPY, UPSCALE, UPSCALE_DENSE, HALVE, BAND = range(11)

# How it ends. arena[BETA] is the factor of (E-)swish, or the cap of ReLU.
LINEAR, SWISH, RELU = range(3)

# Every step: its kind, the tasks it falls into, batch, input and output size.
KIND, TASKS, N, H, W, C, OH, OW = range(8)
# Its tensors: input, second input (a residual), output.
X, X_IMAGE, X_PIXEL, A, A_IMAGE, A_PIXEL, Y, Y_IMAGE, Y_PIXEL = range(8, 17)
# Weights (one set an image where WEIGHTS_IMAGE is not 0), bias, end.
WEIGHTS, WEIGHTS_IMAGE, BIAS, ACTIVATION, BETA = range(17, 22)
# Convolutions: kernel size, stride, padding before, pixels of one task.
SIZE, STRIDE, TOP, LEFT, CHUNK = range(22, 27)
# Matrix products: the columns of the weights as panels of vectors, see pointwise.py.
FULL, FULL_VECTORS, REST_VECTORS, REST_START, REST_STEP = range(27, 32)
# Squeeze-and-excitation, see gate.py: sums of every row of pixels, hidden width, weights, scaled projection.
SUMS, SUMS_IMAGE, SUMS_ROWS, HIDDEN, REDUCE, REDUCE_BIAS, EXPAND, EXPAND_BIAS, SCRATCH, PROJECT = range(32, 42)
# An expansion and its depthwise convolution in bands of rows and groups of channels, see band.py: rows of a band, rows of the
# ring, panels of a group (0: all channels at once).
ROWS, RING, GROUP = range(42, 45)
# Whether a product asks for the pixels of its next tile while it works: 1 where its input is too large for the cache.
AHEAD = 45

COUNT = 46
