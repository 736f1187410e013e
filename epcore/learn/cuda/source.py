"""CUDA C++ as the host's compiler takes it, and where what it makes is kept."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

HEADERS = Path(__file__).parent / "host"

_ARRAY = r"(\w+)\s*((?:\[[^\]]+\]\s*)*)"
_STATIC_SHARED = re.compile(rf"(?<!extern )__shared__\s+([\w:]+(?:\s+[\w:]+)*?)\s+({_ARRAY}(?:,\s*{_ARRAY})*);")
_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+([\w:]+(?:\s+[\w:]+)*?)\s+(\w+)\s*\[\s*\]\s*;")


def host_source(code: str, kernels: Sequence[str], *, name: str) -> str:
    """C++ for cuda_on_host.h of CUDA C++: shared arrays get their place, every kernel of `kernels` its entry, in their order.

    kernels: names with template arguments. Lines keep their numbers, in a file called NAME.cu.
    """
    body = _DYNAMIC_SHARED.sub(r"\1* \2 = coh::dynamic_shared<\1>();", code)
    body = _STATIC_SHARED.sub(_places, body)
    exports = "".join(f"COH_EXPORT(coh_kernel{i}, {kernel})\n" for i, kernel in enumerate(kernels))
    return f'#include "cuda_on_host.h"\n#line 1 "{name}.cu"\n{body}\n{exports}'


def _places(declaration: re.Match[str]) -> str:
    """A reference for every array of one declaration; the lines stay where they are."""
    arrays = re.finditer(_ARRAY, declaration[2])
    places = "".join(f"auto& {array[1]} = COH_STATIC_SHARED({array[1]}, {declaration[1]}{array[2]});" for array in arrays)
    return places + "\n" * (declaration[0].count("\n") - places.count("\n"))


def headers(*names: str) -> str:
    """Their text, for the key of a cache."""
    return "".join((HEADERS / name).read_text(encoding="utf-8") for name in names)


def cache_folder() -> Path:
    """Where compiled kernels are kept between runs: EPCORE_HOST_CUDA_CACHE, or this user's folder among temporary files."""
    default = Path(tempfile.gettempdir()) / f"epcore-cuda-on-host-{os.getuid()}"
    folder = Path(os.environ.get("EPCORE_HOST_CUDA_CACHE", default))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def compiled(command: Sequence[str], source: str, key: str, *, name: str, suffix: str) -> Path:
    """What `command`, a compiler with its options, makes of `source`: a file in the cache, named after all that went in.

    key: what the command reads besides the source. Raises RuntimeError with the compiler's text.
    """
    digest = hashlib.sha256("\0".join([*command, key, source]).encode()).hexdigest()[:20]
    target = cache_folder() / f"{name}-{digest}{suffix}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            written, made = Path(folder) / f"{name}.cpp", Path(folder) / target.name
            written.write_text(source, encoding="utf-8")
            environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # g++ is not to be checked
            arguments = [*command, str(written), "-o", str(made)]
            result = subprocess.run(
                arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise RuntimeError(f"{name} does not compile:\n{result.stderr}")
            os.replace(made, target)
    return target
