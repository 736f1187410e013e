"""Honest files of every kind that epcore reads, small; the campaign damages them."""

from __future__ import annotations

import io
import json
import os
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mpii_helpers import picture, point, rectangle, write
from PIL import Image

import epcore
from epcore.export.keras import export_keras
from epcore.export.weights import export_weights
from epcore.port.store import Vectors, write_vectors
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig

KINDS = ("weights", "vectors", "checkpoint", "tensor", "picture", "mpii", "log", "config", "split")


@cache
def network() -> epcore.EfficientNet:
    return epcore.EfficientNet("B0", blocks=1)


@cache
def seeds() -> dict[str, dict[str, bytes]]:
    """Kind -> name with its suffix -> content."""
    with TemporaryDirectory() as folder:
        found = {
            "weights": _weights(Path(folder)),
            "vectors": _vectors(Path(folder)),
            "checkpoint": {"checkpoint.npz": _checkpoint(Path(folder))},
            "tensor": {"x.npy": _saved(np.save, np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3))},
            "picture": _pictures(),
            "mpii": _mpii(Path(folder)),
            "log": {"log.jsonl": _log()},
            "config": {"config.toml": TrainConfig(model="RT").to_toml().encode()},
            "split": {"split.txt": b"# persons\npicture.jpg\nother.jpg#1\n"},
        }
    assert tuple(found) == KINDS
    return found


def _weights(folder: Path) -> dict[str, bytes]:
    export_keras(network(), folder / "keras2.h5")
    found = {"keras2.h5": (folder / "keras2.h5").read_bytes()}
    for suffix in (".h5", ".npz", *((".safetensors",) if find_spec("safetensors") else ())):
        export_weights(network(), folder / f"own{suffix}")
        found[f"own{suffix}"] = (folder / f"own{suffix}").read_bytes()
    for method, name in ((zipfile.ZIP_STORED, "stored.keras"), (zipfile.ZIP_DEFLATED, "deflated.keras")):
        found[name] = archive({"model.weights.h5": found["keras2.h5"]}, method)
    data = Path(os.environ.get("EPCORE_DATA", "nowhere")) / "efficientnet"
    found |= {file.name: file.read_bytes() for file in sorted(data.glob("*.h5"))}
    return found


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _vectors(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    arrays = {f"layers/{name}": rng.normal(size=(1, 4, 4, 3)).astype(np.float32) for name in ("stem", "block.conv")}
    manifest: dict[str, Any] = {"epcore_format": "epcore vectors 1", "kind": "network", "layers": [], "layout": "NHWC"}
    found = {}
    for name in ("v.npz", "v.h5"):
        write_vectors(folder / name, Vectors(arrays, manifest))
        found[name] = (folder / name).read_bytes()
    return found


def _checkpoint(folder: Path) -> bytes:
    parameters = {name: np.asarray(array) for name, array in network().parameters.items()}
    state = {"momentum": np.zeros(8, np.float32)}
    path = folder / "checkpoint.npz"
    Checkpoint(network().name, 3, 0, 3, {"model": "RT"}, parameters, state, 3, {}, 0.5).save(path)
    return path.read_bytes()


def _saved(save: Any, *arguments: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arguments)
    return buffer.getvalue()


def _pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    rgb, rgba = Image.fromarray(pixels[:, :, :3].copy()), Image.fromarray(pixels)
    found = {}
    for name, image, options in (
        ("p.png", rgba, {}),
        ("p.jpg", rgb, {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("p.gif", rgb.convert("P"), {"save_all": True, "append_images": [rgb.convert("P").rotate(90)]}),
        ("p.bmp", rgb, {}),
        ("p.tiff", rgb, {"compression": "tiff_lzw"}),
        ("p.webp", rgb, {}),
        ("p.ppm", rgb, {}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, {"jpg": "JPEG", "tiff": "TIFF"}.get(name.rpartition(".")[2], name.rpartition(".")[2]), **options)
        found[name] = buffer.getvalue()
    return found


def _mpii(folder: Path) -> dict[str, bytes]:
    from scipy.io import loadmat, savemat

    points = [point(10 * i, 5 * i, i, visible) for i, visible in zip(range(16), [1, 0, "1", "0"] * 4, strict=True)]
    pictures = [picture("picture.jpg", rectangle(*points), rectangle(*points[:9])), picture("other.jpg", rectangle(*points))]
    path = write(folder, [*pictures, picture("empty.jpg")], [1, 1, 0])
    release = {"RELEASE": loadmat(path)["RELEASE"]}
    return {
        "plain.mat": path.read_bytes(),
        "packed.mat": _saved(lambda buffer: savemat(buffer, release, do_compression=True)),
    }


def _log() -> bytes:
    events: list[dict[str, Any]] = [{"event": "start", "config": {"batch": 4}, "version": "0"}]
    events += [
        {"event": "step", "step": i, "epoch": i / 10, "loss": 1 / i, "parts": {"confs": 0.1}, "rate": 1e-3, "sigma": 7.0,
         "gradient_norm": 1.0, "pictures_per_second": 20.0, "waiting": 0.1}
        for i in (1, 2, 3)
    ]  # fmt: skip
    events += [{"event": "validation", "step": 3, "epoch": 0.3, "pckh50": 0.4, "pckh10": 0.1, "groups50": {}, "seconds": 1.0}]
    return "".join(json.dumps(event) + "\n" for event in events).encode()
