"""Tests of the tests: what the emulator computes is right, and mistakes planted in CUDA code are noticed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from cuda_on_host.devices import HOST_ORDERS, Device, device, require_compiler, sources
from cuda_on_host.host_module import CONTRACTED, HostKernel, HostModule
from cuda_on_host.planted import KERNELS, NAMES, transpose
from test_cuda_parity import Case, compare

from epcore.kernels.cuda import loader

INT = np.int32


@pytest.fixture(scope="module")
def planted() -> HostModule:
    require_compiler()
    return HostModule(KERNELS, NAMES, name="planted")


@pytest.fixture(params=HOST_ORDERS)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(HostKernel, "order", request.param)
    return request.param


@pytest.mark.usefixtures("order")
class TestEmulator:
    def test_shared_memory_and_barrier(self, planted: HostModule) -> None:
        a, b = transpose(planted)
        np.testing.assert_array_equal(b, a.T)

    def test_shuffles(self, planted: HostModule) -> None:
        x, y = np.arange(64, dtype=INT), np.zeros(64, INT)
        planted.get_function("warp_total")((1,), (64,), (x, y))
        np.testing.assert_array_equal(y, np.repeat([x[:32].sum(), x[32:].sum()], 32))

    def test_missing_barrier_spoils_the_result(self) -> None:
        require_compiler()
        a, b = transpose(HostModule("#define MISSING_BARRIER\n" + KERNELS, NAMES, name="planted"))
        assert not np.array_equal(b, a.T)

    def test_barrier_not_reached_by_all(self, planted: HostModule) -> None:
        y = np.zeros(64, np.float32)
        with pytest.raises(RuntimeError, match="only 40 of 64 threads arrived"):
            planted.get_function("diverging_barrier")((1,), (64,), (y,))

    def test_different_barriers(self, planted: HostModule) -> None:
        with pytest.raises(RuntimeError, match="different lines"):
            planted.get_function("two_barriers")((1,), (64,), (np.zeros(64, np.float32),))

    def test_shuffle_with_a_lost_lane(self, planted: HostModule) -> None:
        with pytest.raises(RuntimeError, match=r"deadlock.*other lanes left"):
            planted.get_function("lost_lane")((1,), (32,), (np.zeros(32, INT),))

    def test_uninitialised_shared_memory_is_nan(self, planted: HostModule) -> None:
        y = np.zeros(64, np.float32)
        planted.get_function("uninitialised_shared")((1,), (64,), (y,))
        assert np.isnan(y[32:]).all()
        assert (y[:32] == 1).all()

    def test_wrong_argument_types_are_refused(self, planted: HostModule) -> None:
        x = np.zeros(4, np.float32)
        for arguments in ((x, x), (x, x, np.int64(4)), (x, x, 4), (x, np.float32(1), INT(4))):
            with pytest.raises(TypeError, match="read_past_the_end: arguments"):
                planted.get_function("read_past_the_end")((1,), (4,), arguments)

    def test_impossible_launches_are_refused(self, planted: HostModule) -> None:
        kernel, y = planted.get_function("race"), np.zeros(1, np.float32)
        for grid, block in (((1,), (1025,)), ((0,), (1,)), ((1, 65536), (1,))):
            with pytest.raises(RuntimeError, match="invalid"):
                kernel(grid, block, (y,))


ARITHMETIC = """
extern "C" __global__ void multiply_add(const float* x, float* y) { y[0] = x[0] * x[1] + x[2]; }"""


@pytest.mark.parametrize("build", ["", CONTRACTED])
def test_fused_multiply_adds_and_denormals(build: str) -> None:
    """(1 + e)(1 - e) - 1 is 0 where the product is rounded, -e^2 where not; half the smallest normal number is flushed."""
    with device(build or "forward"):  # skips where the processor has none
        kernel = HostModule(ARITHMETIC, ["multiply_add"], name="arithmetic", build=build).get_function("multiply_add")
    e, tiny, y = 2.0**-13, float(np.finfo(np.float32).tiny), np.zeros(1, np.float32)
    kernel((1,), (1,), (np.array([1 + e, 1 - e, -1], np.float32), y))
    assert y[0] == (-(e**2) if build else 0)
    kernel((1,), (1,), (np.array([tiny, 0.5, 0], np.float32), y))
    assert y[0] == (0 if build else tiny / 2)


@pytest.mark.parametrize("pad", ["oh * S - top", "ow0 * S - left"])
def test_a_wrong_pad_fails_the_parity_test(pad: str) -> None:
    """The depthwise kernel with one row or column of padding too many, and the comparison that is made on every kernel."""
    require_compiler()
    source = sources()["depthwise_conv2d"]
    assert pad in source.code()

    def compiler(file: str, code: str, kernels: Sequence[str]) -> HostModule:
        return HostModule(code.replace(pad, f"{pad} - 1") if file == source.file else code, kernels, name=file)

    case = Case("depthwise_conv2d", ((1, 9, 11, 8), (3, 3, 8)), {"stride": 1}, 99)
    with loader.use_compiler(compiler), pytest.raises(AssertionError, match=r"forward .* off by"):
        compare(case, "float32", Device("forward"))
