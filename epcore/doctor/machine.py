"""What this machine is, and what epcore makes of it: processor, the path the kernels take, threads, BLAS, caches, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from epcore.base.limits import usable_cores
from epcore.threads import get_threads, limit_numba

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "pillow", "h5py")
SETTINGS = ("EPCORE_THREADS", "EPCORE_CACHES", "EPCORE_PRICES", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_NUM_THREADS",
            "NUMBA_THREADING_LAYER", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "NUMBA_OPT", "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")  # fmt: skip
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
    return target() | {"threading_layer": threading_layer(), "blas": blas(), "cache": cache(), "caches": caches()}


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
    from epcore.kernels.cpu.processor import CHOICES, PROCESSOR

    return {
        "triple": PROCESSOR.triple,
        "cpu": PROCESSOR.cpu,
        "features": [name for name in FEATURES if name in PROCESSOR.features],
        "paths": [
            {"name": choice.name, "value": choice.decide(PROCESSOR), "meaning": choice.reason}
            for choice in CHOICES
            if len(choice.options) > 1
        ],
    }


def threading_layer() -> dict[str, Any]:
    """Of Numba's parallel loops: "tbb", "omp" or "workqueue", and how many threads it has."""
    import numba

    limit_numba()  # starts the threads

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
    """Where kernels compiled now are kept between processes; folder None where they cannot be."""
    from epcore.kernels.cpu.cache_folders import kept_in

    folder = kept_in()
    return {"folder": None if folder is None else str(folder), "writable": folder is not None}


def caches() -> dict[str, Any]:
    """Bytes of a core's caches, by level; third 0 where there is none."""
    from epcore.kernels.cpu import caches

    found = caches.caches()
    return {"first": found.first, "second": found.second, "third": found.third, "text": str(found)}


def versions() -> dict[str, str]:
    """Of Python and what epcore is built on; "missing" where a package's metadata are not there."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
