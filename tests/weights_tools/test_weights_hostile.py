"""Files made to harm: damaged at random, linked elsewhere, declaring more than they hold. One clear error each, at once."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import epcore
from epcore.cli import main
from epcore.export.keras import export_keras
from epcore.export.weights import export_weights
from epcore.weights_tools.formats import is_epcore_file
from epcore.weights_tools.read import read_weights

MODEL = epcore.EfficientNet("B0", blocks=1)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "w.h5"
    export_keras(MODEL, path)
    return path.read_bytes()


def attempt(content: bytes, path: Path) -> str:
    """What loading says: "" for success. Anything but ValueError fails the test; so does a large allocation."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        epcore.load_weights(MODEL, path)
        message = ""
    except ValueError as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 20
    assert message == "" or str(path) in message
    return message


def test_control(good: bytes, tmp_path: Path) -> None:
    assert attempt(good, tmp_path / "w.h5") == ""


def test_truncated_at_fifty_places(good: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(good) - 1, 50):
        assert attempt(good[:cut], tmp_path / "w.h5"), f"cut at {cut}"


@pytest.mark.parametrize(
    ("name", "message", "trusted"),
    [
        ("segfault", "ended the process that was to read it, by SIGSEGV", False),
        ("keyerror", "is damaged", False),
        ("keyerror", "is damaged", True),
        ("memory_4gb", "is damaged", False),
    ],
)
def test_files_that_did_harm(
    name: str, message: str, trusted: bool, data_path: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One ended the process inside libhdf5, one showed a traceback, one took 4 GB."""
    path = data_path(f"hostile/{name}.h5")
    if trusted:
        assert not is_epcore_file(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_weights(path, trusted=trusted)
    assert str(path) in str(caught.value)
    assert main(["weights", "inspect", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"epcore: error: {path} is damaged")


def test_a_thousand_flipped_bits(good: bytes, tmp_path: Path) -> None:
    """A flipped bit in a value may go unseen (it is still a number); in the structure it must end in an error."""
    rng = np.random.default_rng(1)
    structure = [i for i in range(len(good)) if i < 4096 or i % 7 == 0]
    refused = 0
    for place in rng.choice(structure, 1000):
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(rng.integers(8))
        refused += bool(attempt(bytes(damaged), tmp_path / "w.h5"))
    assert refused > 50


def edited(good: bytes, edit: object) -> bytes:
    buffer = io.BytesIO(good)
    with h5py.File(buffer, "r+") as file:
        edit(file)  # type: ignore[operator]
    return buffer.getvalue()


KERNEL = "stem_conv/stem_conv/kernel:0"


def replace(file: h5py.File, link: object) -> None:
    del file[KERNEL]
    file[KERNEL] = link


def test_external_link(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.h5").write_bytes(good)
    content = edited(good, lambda file: replace(file, h5py.ExternalLink(str(tmp_path / "secret.h5"), KERNEL)))
    assert "link to elsewhere" in attempt(content, tmp_path / "w.h5")


def test_soft_link_loop(good: bytes, tmp_path: Path) -> None:
    content = edited(good, lambda file: replace(file, h5py.SoftLink(f"/{KERNEL}")))
    assert "link to elsewhere" in attempt(content, tmp_path / "w.h5")


def test_group_that_is_a_link(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["stem_conv"]
        file["stem_conv"] = h5py.SoftLink("/stem_bn")

    assert "link to elsewhere" in attempt(edited(good, edit), tmp_path / "w.h5")


def test_values_in_another_file(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(4 * 864))

    def edit(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 3, 3, 32), np.float32, external=[(str(tmp_path / "raw"), 0, 4 * 864)])

    assert "from another file" in attempt(edited(good, edit), tmp_path / "w.h5")


@pytest.mark.parametrize("shape", [(10**12,), (1 << 40, 3), (3, 3, 3, 10**9)])
def test_shape_without_values(shape: tuple[int, ...], good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, shape, np.float32, chunks=tuple(min(n, 1024) for n in shape))

    assert "declares" in attempt(edited(good, edit), tmp_path / "w.h5")


def test_compressed_bomb(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=np.zeros(1 << 24, np.float32), compression="gzip", chunks=(1 << 20,))

    assert "declares" in attempt(edited(good, edit), tmp_path / "w.h5")


def test_objects_instead_of_numbers(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=["one", "two"], dtype=h5py.string_dtype())

    assert "not an array of numbers" in attempt(edited(good, edit), tmp_path / "w.h5")


def test_names_that_leave_the_group(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["stem_conv"].attrs["weight_names"] = [b"../../../etc/passwd"]

    assert attempt(edited(good, edit), tmp_path / "w.h5")


def test_endless_names(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file.attrs["layer_names"]
        for i in range(3):
            file.attrs[f"layer_names{i}"] = np.array([b"x"] * 60_000)

    assert "lacks 'x'" in attempt(edited(good, edit), tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "//stem_conv", "stem_conv/.", "stem_conv/../stem_conv", "a\0b"])
def test_odd_names(name: str, good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.attrs["layer_names"] = np.array([name.encode()])

    assert attempt(edited(good, edit), tmp_path / "w.h5")


def test_group_that_holds_itself(good: bytes, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["stem_conv/stem_conv/again"] = file["stem_conv/stem_conv"]
        file["stem_conv"].attrs["weight_names"] = [f"stem_conv{'/again' * 100_000}/kernel:0"]

    assert "nests more than" in attempt(edited(good, edit), tmp_path / "w.h5")


def lying_size(archive: bytes) -> bytes:
    """The directory at the archive's end says that its last entry unpacks to 1000 bytes."""
    content = bytearray(archive)
    place = content.rindex(b"PK\x01\x02") + 24
    content[place : place + 4] = (1000).to_bytes(4, "little")
    return bytes(content)


class TestKerasArchive:
    @staticmethod
    def archive(weights: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as file:
            file.writestr("model.weights.h5", weights)
        return buffer.getvalue()

    def test_control(self, good: bytes, tmp_path: Path) -> None:
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            assert attempt(self.archive(good, compression), tmp_path / "w.keras") == ""

    def test_bomb(self, good: bytes, tmp_path: Path) -> None:
        bomb = self.archive(good + bytes(1 << 27), zipfile.ZIP_DEFLATED)
        assert "would unpack to" in attempt(bomb, tmp_path / "w.keras")

    def test_size_that_lies(self, good: bytes, tmp_path: Path) -> None:
        content = self.archive(good + bytes(1 << 27), zipfile.ZIP_DEFLATED)
        assert attempt(lying_size(content), tmp_path / "w.keras")

    def test_damaged(self, good: bytes, tmp_path: Path) -> None:
        content = self.archive(good, zipfile.ZIP_DEFLATED)
        rng = np.random.default_rng(4)
        for cut in rng.integers(0, len(content) - 1, 20):
            assert attempt(content[:cut], tmp_path / "w.keras")
        for place in [*rng.integers(0, 200, 100), *rng.integers(len(content) - 100, len(content), 100)]:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(rng.integers(8))
            attempt(bytes(damaged), tmp_path / "w.keras")


class TestNpz:
    def test_bomb(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 26,)})
            archive.writestr("stem_conv/kernel.npy", header.getvalue() + bytes(1 << 28))
        assert "would unpack to" in attempt(path.read_bytes(), path)

    def test_header_that_lies(self, tmp_path: Path) -> None:
        path = tmp_path / "lie.npz"
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("epcore.npy", header.getvalue())
        assert attempt(path.read_bytes(), path)

    def test_objects(self, tmp_path: Path) -> None:
        path = tmp_path / "objects.npz"
        np.savez(path, epcore=np.array([{"a": 1}], dtype=object))
        assert attempt(path.read_bytes(), path)

    def test_compressed_and_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "w.npz"
        export_weights(MODEL, path)
        with np.load(path) as file:
            np.savez_compressed(path, **file)
        content = path.read_bytes()
        assert attempt(content, path) == ""
        rng = np.random.default_rng(5)
        for place in rng.integers(0, len(content), 200):
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(rng.integers(8))
            attempt(bytes(damaged), path)

    def test_size_that_lies(self, tmp_path: Path) -> None:
        path = tmp_path / "w.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("stem_conv/kernel.npy", bytes(1 << 27))
        assert attempt(lying_size(path.read_bytes()), path)

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
    def test_own_formats_damaged(self, suffix: str, tmp_path: Path) -> None:
        if suffix == ".safetensors":
            pytest.importorskip("safetensors", reason="safetensors is not installed")
        path = tmp_path / f"w{suffix}"
        export_weights(MODEL, path)
        content = path.read_bytes()
        rng = np.random.default_rng(2)
        for cut in rng.integers(0, len(content) - 1, 20):
            assert attempt(content[:cut], path)
        for place in rng.integers(0, min(len(content), 3000), 200):
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(rng.integers(8))
            attempt(bytes(damaged), path)
