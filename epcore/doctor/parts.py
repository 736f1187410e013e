"""Optional parts: which are there, and whether they can be loaded. Each is imported: installed and broken are two things."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

# name -> (module, what epcore uses it for)
PARTS = {
    "CuPy": ("cupy", "CUDA kernels"),
    "GPU": ("cupy", "CUDA kernels"),
    "onnx": ("onnx", "epcore export-onnx"),
    "onnxruntime": ("onnxruntime", "comparisons in tests and benchmarks"),
    "MPI": ("mpi4py", "training in several processes"),
    "safetensors": ("safetensors", "weights in that format"),
    "matplotlib": ("matplotlib", "epcore plot"),
    "tqdm": ("tqdm", "progress bars"),
    "threadpoolctl": ("threadpoolctl", "threads of BLAS"),
}


def look(name: str) -> dict[str, Any]:
    """status: "there", "missing" or "broken"; text: version and the like, or what is wrong."""
    module, use = PARTS[name]
    if find_spec(module) is None:
        return {"name": name, "status": "missing", "text": f"not installed ({use})"}
    if name == "GPU":
        return _gpu()
    try:
        text = _mpi() if name == "MPI" else str(getattr(import_module(module), "__version__", "of unknown version"))
    except Exception as error:  # whatever a package does when it is imported
        return {"name": name, "status": "broken", "text": f"cannot be imported: {_line(error)}"}
    return {"name": name, "status": "there", "text": text}


def _mpi() -> str:
    import mpi4py

    mpi4py.rc.initialize = False  # asked what it is, not to start
    library = import_module("mpi4py.MPI").Get_library_version()
    return f"mpi4py {mpi4py.__version__}, {' '.join(library.split())[:60]}"


def _gpu() -> dict[str, Any]:
    """Name, compute capability, memory and driver of the first GPU."""
    from epcore.kernels.cuda.loader import require_cupy

    try:
        cupy = require_cupy()
        count, runtime = cupy.cuda.runtime.getDeviceCount(), cupy.cuda.runtime
        properties = runtime.getDeviceProperties(0)
        driver = runtime.driverGetVersion()
    except Exception as error:
        return {"name": "GPU", "status": "missing", "text": _line(error).removeprefix("backend 'cuda' cannot run: ")}
    text = (
        f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
        f"{properties['totalGlobalMem'] / 2**30:.0f} GiB, driver for CUDA {driver // 1000}.{driver % 1000 // 10}"
    )
    return {"name": "GPU", "status": "there", "text": text + (f" (first of {count})" if count > 1 else "")}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
