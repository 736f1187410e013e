"""Mistakes that students make, planted into right answers (`solutions.py`), and what is to be said of each.

    python tests/exercise/planted.py        the table: every mistake, whether it is named, what is said

They were written from the pages, as mistakes, before there was a diagnosis to name them; what is expected of it came after.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from solutions import solution

from epcore.exercise.diagnose import Diagnosis, diagnose


@dataclass(frozen=True)
class Planted:
    """what: the mistake, in words. changes: texts of the right answer and what stands there instead.

    expected: a pattern of all ways to name it. word: whether the diagnosis has a word for its kind (a term, a factor, a sign, a
    move of an array); else it is found by putting something in the place of an ingredient, by windows laid otherwise, or by a
    place.
    """

    op: str
    what: str
    changes: tuple[tuple[str, str], ...]
    expected: str
    word: bool

    @property
    def source(self) -> str:
        text = solution(self.op)
        for old, new in self.changes:
            assert old in text, f"{self.op}, {self.what}: {old!r} is not in the answer"
            text = text.replace(old, new)
        return text


def verdict(planted: Planted, diagnosis: Diagnosis) -> str:
    """ "named": what is said to be the mistake is it, and all of it is said. "wrong": something else is said to be the mistake.
    "not explained": it is only said where values are wrong."""
    said = [finding for finding in diagnosis.findings if finding.exact or not finding.located]
    if not diagnosis.findings:
        return "not seen"
    if any(not re.search(planted.expected, finding.text) for finding in said):
        return "wrong"
    return "named" if len(said) == len(diagnosis.findings) else "not explained"


def check(planted: Planted, folder: Path) -> Diagnosis:
    path = folder / "answer.py"
    path.write_text(planted.source, encoding="utf-8")
    return diagnose(planted.op, path)


PLANTED = (
    Planted(
        "swish",
        "took the derivative of the sigmoid alone",
        (("(s + x * ds)", "ds"),),
        r"of x as a factor is that with s \* \(1 - s\) in the place of s and the term of the sigmoid is missing",
        False,
    ),
    Planted(
        "swish",
        "forgot the outer x of the product rule",
        (("(s + x * ds)", "(s + ds)"),),
        r"with 1 in the place of x",
        False,
    ),
    Planted(
        "swish",
        "minus between the parts",
        (("s + x * ds", "s - x * ds"),),
        r"term of the sigmoid has the wrong sign",
        True,
    ),
    Planted(
        "swish",
        "derivative of the sigmoid written s * (s - 1)",
        (("s * (1 - s)", "s * (s - 1)"),),
        r"term of the sigmoid has the wrong sign",
        True,
    ),
    Planted(
        "swish",
        "x squared",
        (("s + x * ds", "s + x * x * ds"),),
        r"with x\^2 in the place of x",
        False,
    ),
    Planted(
        "swish",
        "clipped x, in fear of overflow",
        (("    s = sigmoid(x)", "    s = sigmoid(np.clip(x, -4, 4))"),),
        r"x kept within \[-4, 4\], in s",
        False,
    ),
    Planted(
        "eswish",
        "beta left out of the second line",
        (("beta * dy * x * s", "dy * x * s"),),
        r"term of the sigmoid is 1 / beta times",
        True,
    ),
    Planted(
        "eswish",
        "beta inside the sigmoid too",
        (("    s = sigmoid(x)", "    s = sigmoid(beta * x)"),),
        r"beta \* x in the place of x, in s",
        False,
    ),
    Planted(
        "eswish",
        "the constant of the paper instead of the argument",
        (("    (x,) = saved", "    (x,) = saved\n    beta = 1.25"),),
        r"as if beta were 1.25",
        False,
    ),
    Planted(
        "sigmoid",
        "took y for x and computed the sigmoid again",
        (("dy * y * (1 - y)", "dy * (1 / (1 + np.exp(-y))) * (1 - 1 / (1 + np.exp(-y)))"),),
        r"sigmoid\(y\) in the place of y",
        False,
    ),
    Planted(
        "sigmoid",
        "1 - y squared",
        (("(1 - y)", "(1 - y) ** 2"),),
        r"\(1 - y\)\^2 in the place of 1 - y",
        False,
    ),
    Planted(
        "sigmoid",
        "dy used twice",
        (("dy * y * (1 - y)", "dy * dy * y * (1 - y)"),),
        r"dy\^2 in the place of dy",
        False,
    ),
    Planted(
        "relu",
        "cap forgotten",
        (("dx[y >= maximum] = 0", "pass"),),
        r"as if maximum were None",
        False,
    ),
    Planted(
        "relu",
        "zeroes where dy is negative (guided backpropagation)",
        (("dx[y <= 0] = 0", "dx[(y <= 0) | (dy < 0)] = 0"),),
        r"max\(dy, 0\) in the place of dy|0 where dy < 0|where dy < 0 0",
        False,
    ),
    Planted(
        "relu",
        "capped gradient instead of capped activation",
        (("dx[y >= maximum] = 0", "dx = np.minimum(dx, maximum / 4)"),),
        r"kept below 0.75|always 0.75",
        False,
    ),
    Planted(
        "prelu",
        "alpha on the wrong side",
        (("negative = x <= 0", "negative = x > 0"),),
        r"\[x <= 0\] in the place of \[x > 0\]",
        False,
    ),
    Planted(
        "prelu",
        "dalpha over all pixels",
        (("(dy * x * negative)", "(dy * x)"),),
        r"with 1 in the place of \[x <= 0\]",
        False,
    ),
    Planted(
        "prelu",
        "dalpha without x",
        (("(dy * x * negative)", "(dy * negative)"),),
        r"with 1 in the place of x",
        False,
    ),
    Planted(
        "prelu",
        "dalpha is the mean",
        (("negative).sum(", "negative).mean("),),
        r"^1 / \(N\*H\*W\) times",
        True,
    ),
    Planted(
        "prelu",
        "absolute value of x in dalpha",
        (("dy * x * negative", "dy * np.abs(x) * negative"),),
        r"wrong sign|\|x\| in the place of x",
        True,
    ),
    Planted(
        "add",
        "halves the gradient between the two",
        (
            ("da = dy.copy()", "da = dy / 2"),
            ("db = dy.copy()", "db = dy / 2"),
        ),
        r"^1/2 times",
        True,
    ),
    Planted(
        "add",
        "subtraction's gradient for b",
        (("db = dy.copy()", "db = -dy"),),
        r"wrong sign",
        True,
    ),
    Planted(
        "multiply",
        "factors mixed up",
        (
            ("da = fold(dy * b, a.shape)", "da = fold(dy * a, a.shape)"),
            ("db = fold(dy * a, b.shape)", "db = fold(dy * b * np.ones(a.shape), b.shape)"),
        ),
        r"with a in the place of b|with b in the place of a",
        True,
    ),
    Planted(
        "multiply",
        "mean over the stretched axes",
        (("gradient.sum(axis=axis, keepdims=True)", "gradient.mean(axis=axis, keepdims=True)"),),
        r"^1 / \(H \* W\) times",
        True,
    ),
    Planted(
        "multiply",
        "takes one pixel instead of the sum over the stretched axis",
        (("gradient.sum(axis=axis, keepdims=True)", "np.take(gradient, [0], axis=axis)"),),
        r"of the first of its rows and columns only",
        False,
    ),
    Planted(
        "concat",
        "pieces returned from last to first",
        (
            ("return tuple(", "return tuple(reversed([*"),
            ("zip(ends, saved))", "zip(ends, saved)]))"),
            ("reversed([*dy", "reversed([dy"),
        ),
        r"reverse order",
        True,
    ),
    Planted(
        "concat",
        "starts one channel too late",
        (("dy[..., end - count : end]", "np.roll(dy, -1, axis=-1)[..., end - count : end]"),),
        r"dy rolled around by 1 along its channels, to lower",
        True,
    ),
    Planted(
        "concat",
        "interleaves the channels",
        (("dy[..., end - count : end]", "dy[..., end - count : end][..., ::-1]"),),
        r"channels in reverse order",
        True,
    ),
    Planted(
        "global_mean",
        "division forgotten",
        ((" / (H * W)", ""),),
        r"^H \* W times",
        True,
    ),
    Planted(
        "global_mean",
        "divides by everything",
        ((" / (H * W)", " / (N * H * W)"),),
        r"^1 / N times",
        True,
    ),
    Planted(
        "global_mean",
        "range ends one early",
        (("for k in range(W)", "for k in range(W - 1)"),),
        r"^0 in the last of its columns",
        True,
    ),
    Planted(
        "global_mean",
        "H used for both",
        (("(H * W)", "(H * H)"),),
        r"^W / H times",
        True,
    ),
    Planted(
        "avg_pool",
        "size instead of size squared",
        (("size**2", "size"),),
        r"^size times",
        True,
    ),
    Planted(
        "avg_pool",
        "hands all to the first pixel of the window",
        (("window += dy[:, i : i + 1, j : j + 1] / size**2", "window[:, :1, :1] += dy[:, i : i + 1, j : j + 1]"),),
        r"at the first pixel of each window size\^2 times the right one, elsewhere 0",
        False,
    ),
    Planted(
        "avg_pool",
        "puts the rest first",
        (
            ("dx = np.zeros(shape)", "dx = np.zeros(shape)\n    rest = shape[1] % size"),
            ("dx[:, i * size : (i + 1) * size,", "dx[:, rest + i * size : rest + (i + 1) * size,"),
        ),
        r"shifted by 1 along its rows, to higher",
        True,
    ),
    Planted(
        "max_pool",
        "assigns where windows overlap",
        (("] += dy", "] = dy"),),
        r"only the last counts: it is assigned",
        False,
    ),
    Planted(
        "max_pool",
        "u and v mixed up",
        (("u, v = divmod", "v, u = divmod"),),
        r"IndexError.*line \d+",
        False,
    ),
    Planted(
        "max_pool",
        "padding forgotten",
        (
            ("u - top", "u"),
            ("v - left", "v"),
            ("        dx[n, h, k, c]", "        if h < H and k < W: dx[n, h, k, c]"),
        ),
        r"padding above and on the left were 0",
        False,
    ),
    Planted(
        "max_pool",
        "each window hands out a mean share",
        (("dx[n, h, k, c] += dy[n, i, j, c]", "dx[n, h, k, c] += dy[n, i, j, c] / size**2"),),
        r"^1 / size\^2 times",
        True,
    ),
    Planted(
        "mse",
        "2 forgotten",
        (("2 * (prediction", "(prediction"),),
        r"^1/2 times",
        True,
    ),
    Planted(
        "mse",
        "target minus prediction",
        (("prediction - target", "target - prediction"),),
        r"wrong sign",
        True,
    ),
    Planted(
        "mse",
        "divides by the batch",
        (("d / prediction.size", "d / len(prediction)"),),
        r"^(elements / N|H \* W \* C) times",
        True,
    ),
    Planted(
        "mse",
        "mean over unmasked elements only",
        (
            (
                "d = d / prediction.size",
                "d = d / (prediction.size if mask is None else np.broadcast_to(mask, prediction.shape).sum())",
            ),
        ),
        r"^elements / \(elements with mask 1\) times",
        False,
    ),
    Planted(
        "mse",
        "dy forgotten",
        ((" * dy", ""),),
        r"with 1 in the place of dy",
        False,
    ),
    Planted(
        "drop_connect",
        "multiplies by the probability",
        (("mask / keep", "mask * keep"),),
        r"^\(1 - rate\)\^2 times",
        True,
    ),
    Planted(
        "drop_connect",
        "divides by the rate",
        (("keep = 1 - rate", "keep = rate"),),
        r"^\(1 - rate\) / rate times",
        True,
    ),
    Planted(
        "drop_connect",
        "mask upside down",
        (("dy * mask", "dy * (1 - mask)"),),
        r"1 - mask in the place of mask",
        False,
    ),
    Planted(
        "batch_norm",
        "mean path forgotten",
        (("dx = dx + dmean / M", "pass"),),
        r"through the mean of the batch is missing",
        True,
    ),
    Planted(
        "batch_norm",
        "unbiased variance",
        (("2 * (x - mean) / M", "2 * (x - mean) / (M - 1)"),),
        r"through the variance of the batch is \(N\*H\*W\) / \(N\*H\*W - 1\) times",
        False,
    ),
    Planted(
        "batch_norm",
        "std squared, not cubed",
        (("std**3", "std**2"),),
        r"with 1 in the place of r, in the mean of dy \* z|through the variance.*1 in the place of r",
        False,
    ),
    Planted(
        "batch_norm",
        "gamma left out of dx",
        (("dz = dy * gamma", "dz = dy"),),
        r"with 1 in the place of gamma",
        False,
    ),
    Planted(
        "batch_norm",
        "another epsilon",
        (("variance + epsilon", "variance + 1e-5"),),
        r"1e-05 in the place of epsilon",
        False,
    ),
    Planted(
        "batch_norm",
        "dgamma with x instead of z",
        (("(dy * z).sum", "(dy * x).sum"),),
        r"with x in the place of z",
        False,
    ),
    Planted(
        "batch_norm",
        "minus 0.5 became 0.5",
        (("* -0.5", "* 0.5"),),
        r"through the variance of the batch has the wrong sign",
        True,
    ),
    Planted(
        "squeeze_excite",
        "second path forgotten",
        (("dx = dx + dm[:, None, None, :] / (H * W)", "pass"),),
        r"through the gate is missing",
        True,
    ),
    Planted(
        "squeeze_excite",
        "slope of the hidden activation forgotten",
        (("da * slope(t, activation)[1]", "da"),),
        r"1 in the place of the slope of the hidden activation",
        False,
    ),
    Planted(
        "squeeze_excite",
        "slope of the gate forgotten",
        (("dg * g * (1 - g)", "dg"),),
        r"1 in the place of the slope of the gate",
        False,
    ),
    Planted(
        "squeeze_excite",
        "mean over the map for dg",
        (("(dy * x).sum(axis=(1, 2))", "(dy * x).mean(axis=(1, 2))"),),
        r"1 / \(H \* W\) times",
        True,
    ),
    Planted(
        "squeeze_excite",
        "H * W forgotten",
        ((" / (H * W)", ""),),
        r"through the gate is H \* W times",
        True,
    ),
    Planted(
        "conv2d",
        "symmetric padding",
        (("    return total // 2, total - total // 2", "    return (total + 1) // 2, total // 2"),),
        r"padding above and on the left were the one that comes after",
        False,
    ),
    Planted(
        "conv2d",
        "kernel turned for dx, as at stride 1 of true convolution",
        (('np.einsum("uvco,no->nuvc", w,', 'np.einsum("uvco,no->nuvc", w[::-1, ::-1],'),),
        r"w turned by 180 degrees",
        True,
    ),
    Planted(
        "conv2d",
        "crops from the end",
        (("dxp[:, top : top + H, left : left + W, :]", "dxp[:, bottom : bottom + H, right : right + W, :]"),),
        r"padding above and on the left were the one that comes after",
        False,
    ),
    Planted(
        "conv2d",
        "db is a mean over the batch",
        (("dy.sum(axis=(0, 1, 2)) if", "dy.sum(axis=(1, 2)).mean(axis=0) if"),),
        r"^1 / N times",
        True,
    ),
    Planted(
        "conv2d",
        "only the last sample's dw",
        (
            ('dw += np.einsum("nuvc,no->uvco", window,', 'dw += np.einsum("nuvc,no->uvco", window[-1:],'),
            ("dy[:, i, j])\n            dxp", "dy[-1:, i, j])\n            dxp"),
        ),
        r"dy of the last of its samples only",
        False,
    ),
    Planted(
        "depthwise_conv2d",
        "stride ignored for k",
        (("k = j * stride + v - q", "k = j + v - q"),),
        r"stride is left out for the columns",
        False,
    ),
    Planted(
        "depthwise_conv2d",
        "border left out",
        (("0 <= h < H", "0 < h < H"),),
        r"0 in the first of its rows|x without the first of its rows",
        True,
    ),
    Planted(
        "depthwise_conv2d",
        "assigns instead of adding up dx",
        (("dx[:, h, k] += w", "dx[:, h, k] = w"),),
        r"only the last counts: it is assigned",
        False,
    ),
    Planted(
        "depthwise_conv2d",
        "kw used for the rows' padding",
        (("padding(H, kh, stride)", "padding(H, kh, 1)"),),
        r"padding above were (the one that comes after|that of stride 1)",
        False,
    ),
    Planted(
        "depthwise_conv2d",
        "u and v of the kernel exchanged in dx",
        (("w[u, v] * dy", "w[v, u] * dy"),),
        r"w with kernel rows and kernel columns exchanged",
        True,
    ),
    Planted(
        "conv_transpose2d",
        "crop on the wrong side",
        (("p = max(kh - stride, 0) // 2", "p = max(kh - stride, 0) - max(kh - stride, 0) // 2"),),
        r"padding above were (the one that comes after|one more|all there is)",
        False,
    ),
    Planted(
        "conv_transpose2d",
        "crop forgotten",
        (
            ("u - p", "u"),
            ("v - q", "v"),
        ),
        r"padding above and on the left were 0",
        False,
    ),
    Planted(
        "conv_transpose2d",
        "last row of taps left out",
        (("for u in range(kh)", "for u in range(kh - 1 if kh > 1 else kh)"),),
        r"w without the last of its kernel rows|0 in the last of its kernel rows",
        False,
    ),
    Planted(
        "conv_transpose2d",
        "db over the batch's first sample",
        (("dy.sum(axis=(0, 1, 2))", "dy[0].sum(axis=(0, 1))"),),
        r"dy of the first of its samples only",
        False,
    ),
    Planted(
        "conv2d",
        "dw as a mean over the places of the output",
        (("return dx, dw, db", "return dx, dw / (dy.shape[1] * dy.shape[2]), db"),),
        r"1 / \(OH \* OW\)",
        True,
    ),
)


def main() -> int:
    counts: Counter[str] = Counter()
    operators: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for planted in PLANTED:
            diagnosis = check(planted, Path(folder))
            found = verdict(planted, diagnosis)
            counts[found] += 1
            operators.add(planted.op)
            said = "; ".join(dict.fromkeys(finding.text for finding in diagnosis.findings))
            print(f"{found:<14}{planted.op:<18}{planted.what}\n{'':<14}{said}", flush=True)
    shown = ", ".join(f"{count} {found}" for found, count in counts.most_common())
    print(f"{len(PLANTED)} mistakes in {len(operators)} operators: {shown}")
    return 0 if counts["named"] / len(PLANTED) >= 5 / 6 and not counts["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
