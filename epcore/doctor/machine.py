"""What this machine is, and what epcore makes of it: processor, the path the kernels take, threads, BLAS, caches, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from epcore.threads import get_threads

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "pillow", "h5py")
SETTINGS = ("EPCORE_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER",
            "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "NUMBA_OPT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
            "CUDA_VISIBLE_DEVICES")  # fmt: skip
# Of the features LLVM knows, those that decide how numbers are computed.
FEATURES = ("sse2", "sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "neon", "sve", "sve2")


def machine() -> dict[str, Any]:
    """All that is known without Numba."""
    usable = usable_cores()
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable,
        "threads": get_threads(),
        "threads_because": threads_because(usable),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def compiled() -> dict[str, Any]:
    """What Numba compiles for and runs on, BLAS, and where compiled kernels are kept. Loads the kernels."""
    return target() | {"threading_layer": threading_layer(), "blas": blas(), "cache": cache()}


def processor_name() -> str:
    """As the operating system gives it."""
    try:
        if sys.platform == "linux":
            for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
                if line.partition(":")[0].strip() in ("model name", "Model", "cpu model"):
                    return " ".join(line.partition(":")[2].split())
        elif sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine() or "unknown"


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_because(usable: int) -> str:
    """Why `get_threads()` is what it is."""
    if "EPCORE_THREADS" in os.environ:
        return "set by EPCORE_THREADS"
    if get_threads() < usable:
        return f"{usable} cores, less by the container's limits"
    if usable < (os.cpu_count() or 1):
        return f"this process may use {usable} of {os.cpu_count()} cores"
    return "one for each core"


def target() -> dict[str, Any]:
    """LLVM's names of what code is compiled for, and the paths that the kernels take there."""
    from numba.core.registry import cpu_target

    from epcore.kernels.cpu.simd import LANES, TILE_ROWS

    triple, cpu, listed = cpu_target.target_context.codegen().magic_tuple()
    have = {name[1:] for name in listed.split(",") if name.startswith("+")}
    fused = "fma" in have or not triple.startswith(("x86", "i386", "i686"))
    paths = [
        ("vector", f"{LANES} numbers", "float32 in one vector"),
        ("tile", f"{TILE_ROWS} rows", "of a product held in registers"),
        ("multiply-add", "fused" if fused else "separate", "rounded once, or twice"),
        ("exponential", "instruction" if LANES == 16 else "exponent bits", "how exp is scaled by 2^k"),
    ]
    return {
        "triple": triple,
        "cpu": cpu,
        "features": [name for name in FEATURES if name in have],
        "paths": [{"name": name, "value": value, "meaning": meaning} for name, value, meaning in paths],
    }


def threading_layer() -> dict[str, Any]:
    """Of Numba's parallel loops: "tbb", "omp" or "workqueue", and how many threads it has."""
    import_module("epcore.kernels.cpu.jit")  # starts the threads
    import numba

    return {"name": numba.threading_layer(), "threads": int(numba.get_num_threads())}


def blas() -> list[dict[str, Any]]:
    """What NumPy multiplies matrices with (the reference backend does). threads: None where nobody can tell."""
    import numpy as np

    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
        return [{"name": found.get("name", "unknown"), "version": found.get("version", ""), "threads": None}]
    return [
        {"name": each["internal_api"], "version": each["version"] or "", "threads": each["num_threads"]}
        for each in threadpool_info()
        if each["user_api"] == "blas"
    ]


def cache() -> dict[str, Any]:
    """Where compiled kernels are kept between processes: the first folder that can be written; folder None where there is
    none to try."""
    from epcore.kernels.cpu.product import _pack

    kept = _pack._cache  # type: ignore[attr-defined]  # of a serial kernel, which is Numba's own object
    folders = getattr(kept, "_folders", None)
    paths = [folder.path for folder in folders.lasting] if folders else [Path(kept.cache_path)]
    for path in paths:
        if _can_write(path):
            return {"folder": str(path), "writable": True}
    return {"folder": str(paths[0]) if paths else None, "writable": False}


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def versions() -> dict[str, str]:
    """Of Python and what epcore is built on; "missing" where a package's metadata are not there."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
