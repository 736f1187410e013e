"""What the CUDA launchers refuse, how kernels are found, and what is said where there is no GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import device, sources

import epcore
from epcore import backend
from epcore.kernels.cuda import bilinear, conv2d, depthwise_conv2d, launch, loader, sgd, targets
from epcore.ops import OPS

X = np.ones((2, 6, 5, 8), np.float32)


@pytest.fixture
def host() -> Iterator[None]:
    with device("forward"):
        yield


def kernels(op: str) -> Any:
    return backend.kernel_module(op, "cuda")


UNARY = ["swish", "eswish", "sigmoid", "relu", "max_pool", "avg_pool", "global_mean"]


@pytest.mark.usefixtures("host")
class TestRefusals:
    @pytest.mark.parametrize("op", UNARY)
    def test_dtype(self, op: str) -> None:
        for dtype in ("float16", "int32"):
            with pytest.raises(TypeError, match=f"{op}: x has dtype {dtype}.*float32 or float64"):
                kernels(op).forward(X.astype(dtype))

    @pytest.mark.parametrize("op", UNARY)
    def test_contiguity(self, op: str) -> None:
        with pytest.raises(ValueError, match=f"{op}: x is not C-contiguous"):
            kernels(op).forward(X.transpose(0, 2, 1, 3))

    @pytest.mark.parametrize("op", UNARY)
    def test_empty(self, op: str) -> None:
        with pytest.raises(ValueError, match=f"{op}: x is empty"):
            kernels(op).forward(X[:0])

    @pytest.mark.parametrize("op", UNARY)
    def test_lists(self, op: str) -> None:
        with pytest.raises(TypeError, match=f"{op}: x is a list"):
            kernels(op).forward(X.tolist())

    @pytest.mark.parametrize("op", [op for op in UNARY if op not in ("max_pool", "avg_pool", "global_mean")])
    def test_gradient_of_another_shape(self, op: str) -> None:
        _, saved = kernels(op).forward(X)
        with pytest.raises(ValueError, match=rf"{op}: dy has shape \(2, 6, 5, 4\), expected \(2, 6, 5, 8\)"):
            kernels(op).backward(np.ascontiguousarray(X[..., :4]), saved)

    @pytest.mark.parametrize("op", ["max_pool", "avg_pool", "global_mean"])
    def test_axes(self, op: str) -> None:
        with pytest.raises(ValueError, match=f"{op}: x has shape .* expected .N,H,W,C."):
            kernels(op).forward(X[0])

    def test_mixed_dtypes(self) -> None:
        with pytest.raises(TypeError, match="add: b has dtype float64, expected float32 as a"):
            kernels("add").forward(X, X.astype(np.float64))
        with pytest.raises(TypeError, match="conv2d: w has dtype float64"):
            conv2d.forward(X, np.ones((1, 1, 8, 4)))

    @pytest.mark.parametrize(
        ("op", "shapes", "named"),
        [
            ("add", [(1, 6, 5, 8)], "b"),
            ("conv2d", [(3, 3, 4, 8)], "w"),
            ("conv2d", [(3, 3, 8, 4), (8,)], "b"),
            ("conv_transpose2d", [(4, 4, 8, 4)], "w"),
            ("depthwise_conv2d", [(3, 3, 4)], "w"),
            ("batch_norm", [(8,), (4,), (8,), (8,)], "beta"),
            ("prelu", [(4,)], "alpha"),
            ("squeeze_excite", [(1, 1, 8, 2), (3,), (1, 1, 2, 8), (8,)], "b_reduce"),
            ("multiply", [(2, 6, 5, 3)], "b"),
            ("concat", [(2, 6, 4, 8)], "input 1"),
            ("mse", [(2, 6, 5, 4)], "target"),
        ],
    )
    def test_shapes(self, op: str, shapes: list[tuple[int, ...]], named: str) -> None:
        with pytest.raises(ValueError, match=rf"{op}: .*\b{named}\b"):
            kernels(op).forward(X, *(np.ones(shape, np.float32) for shape in shapes))

    def test_filters_without_a_kernel(self) -> None:
        for shape, stride in (((7, 7, 8), 1), ((3, 5, 8), 1), ((3, 3, 8), 3)):
            with pytest.raises(ValueError, match=r"depthwise_conv2d: w .* 3x3 and 5x5, stride 1 or 2"):
                depthwise_conv2d.forward(X, np.ones(shape, np.float32), stride=stride)

    def test_gate_on_a_window(self) -> None:
        with pytest.raises(ValueError, match="gate and residual go with 1x1"):
            conv2d.fused(X, np.ones((3, 3, 8, 4), np.float32), None, gate=np.ones((2, 8), np.float32))

    def test_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(launch, "MAX_ELEMENTS", X.size - 1)
        with pytest.raises(ValueError, match="swish: x has 480 elements, the CUDA kernels take at most 479"):
            kernels("swish").forward(X)
        with pytest.raises(ValueError, match=r"a map of .* was asked for"):
            targets.confidence_maps(np.zeros((1, 1, 16, 2)), np.ones((1, 1, 16), np.bool_), 2**14, 1.0)

    def test_targets(self) -> None:
        points, known = np.zeros((1, 1, 16, 2)), np.ones((1, 1, 16), np.bool_)
        with pytest.raises(ValueError, match="sigma is 0"):
            targets.confidence_maps(points, known, 8, 0)
        with pytest.raises(TypeError, match="points has dtype float32"):
            targets.confidence_maps(points.astype(np.float32), known, 8, 1)
        with pytest.raises(ValueError, match="known has shape"):
            targets.confidence_maps(points, known[..., :3].copy(), 8, 1)
        with pytest.raises(ValueError, match="limbs is int64"):
            targets.affinity_fields(points, known, np.zeros((3, 2), np.int64), 8, 1)

    def test_sgd(self) -> None:
        with pytest.raises(ValueError, match="velocity 1 has shape"):
            sgd.SgdMomentum([X, X], [X, X[:1]])
        with pytest.raises(ValueError, match="1 gradients for 2"):
            sgd.SgdMomentum([X, X.copy()], [X.copy(), X.copy()]).step([X], rate=1, momentum=0)

    def test_odd_bilinear_gradient(self) -> None:
        with pytest.raises(ValueError, match="even height and width"):
            bilinear.backward(X)

    def test_unlisted_kernels(self) -> None:
        with pytest.raises(KeyError, match=r"swish\.cu lists no kernel swish_forward<float,3>"):
            loader.function(sources()["swish"], "float", "swish_forward<float,3>")

    def test_misaligned_arrays_take_the_scalar_kernel(self) -> None:
        """An array that starts in the middle of 16 bytes is legal; only the vector kernel cannot take it."""
        x = np.arange(17, dtype=np.float32)[1:]
        assert launch.width(16, np.ascontiguousarray(x.copy())) == 4
        assert launch.width(16, x) == 1
        y, _ = kernels("swish").forward(x)
        np.testing.assert_allclose(y, OPS["swish"].forward(x.astype(np.float64))[0], rtol=1e-6)


def test_every_kernel_in_the_sources_is_listed() -> None:
    """A kernel that no launcher lists would be neither compiled nor tested."""
    for source in sources().values():
        written = set(re.findall(r"__global__ void\s*(?:__launch_bounds__\([^)]*\)(?:, 4\))?\s*)?\s*(\w+)\(", source.code()))
        listed = {name.partition("<")[0] for name in source.instances("float")}
        assert written == listed, source.file


def test_no_kernel_uses_atomics() -> None:
    """The order of atomic additions changes from run to run, and with it the last bits of a float sum."""
    for source in sources().values():
        statements = re.sub(r"//.*", "", source.code())
        assert "atomic" not in statements, source.file


NO_GPU = """
import numpy as np, sys
{before}
import epcore
from epcore.kernels.cuda import swish
from epcore.inference.cuda_graph import CudaGraphPlan
x = np.ones(4, np.float32)
model = epcore.EfficientPose("RT")
for call in (lambda: swish.forward(x), lambda: model.to("cuda"), lambda: CudaGraphPlan(model)):
    try:
        call()
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("sys.modules['cupy'] = None", "CuPy cannot be imported"),
        ("import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''", "no "),
    ],
    ids=["without CuPy", "without a GPU"],
)
def test_what_is_missing_is_said(before: str, said: str) -> None:
    """In a process of its own: whether there is a GPU is found out once."""
    if "CUDA_VISIBLE" in before:
        pytest.importorskip("cupy", reason="CuPy is not installed")
    code = NO_GPU.format(before=before)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert lines[0].startswith(f"backend 'cuda' cannot run: {said}")


def test_numpy_arrays_are_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    monkeypatch.setattr(loader, "require_cupy", lambda: cupy)
    with pytest.raises(TypeError, match="swish: x is a ndarray, the CUDA kernels take CuPy arrays"):
        kernels("swish").forward(X)


def test_the_backend_refuses_numpy_arrays() -> None:
    with epcore.use_backend("cuda"), pytest.raises(TypeError, match="takes CuPy arrays, swish got NumPy"):
        backend.kernel("swish", X)
