"""The operators, one a file: page, forward, backward, output shape, cost, what else `Op` asks for, in that order.

The page is the docstring and has six sections: Equation, Symbols, Derivation, Saved, Cost, Source (`epcore.op.Page` reads
them). Code and page use the same names. Indices mean the same on every page, in the code below it, and in the kernels of both
backends:

    n           sample, of N
    c, o        channel of x, of C or Cin; channel of y, of Cout, where y has channels of its own
    i, j        row and column on the small side of a window: of y; in a transposed convolution of x
    h, k        row and column on its large side: of x; in a transposed convolution of y
    u, v        row and column within the window: a tap, of kh * kw
    s           stride: so far apart are windows
    p, q        rows and columns of the first window before the large side's first pixel: padding; in a transposed
                convolution what is cropped

    H, W are the rows and columns of x, OH, OW those of y. Tap (u,v) of the window of pixel (i,j) lies on the pixel

        h = i*s + u - p,    k = j*s + v - q

    and outside the large side there is nothing: zeros are read there, and what is written there is dropped.

Some kernels spell them out. Plans on the CPU (`fused`): oy, ox for i, j; iy, ix for h, k; top, left for p, q. CUDA: oh, ow for
i, j; h, w for h, k; top, left for p, q; a tap and a pixel in one number where a thread counts through them.

dz is the derivative of the loss with respect to z, in z's shape, whatever z is: backward gets dy and returns one for each
input.
"""

from importlib import import_module

from epcore.op import Op

_NAMES = (
    "conv2d", "depthwise_conv2d", "conv_transpose2d", "batch_norm", "swish", "eswish", "sigmoid", "relu", "prelu", "max_pool",
    "avg_pool", "global_mean", "squeeze_excite", "add", "multiply", "concat", "drop_connect", "mse",
)  # fmt: skip

OPS: dict[str, Op] = {name: import_module(f"{__name__}.{name}").OP for name in _NAMES}
