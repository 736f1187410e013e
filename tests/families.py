"""The families of x86 processors that epcore's CPU code is compiled for, and how to run anything as one of them.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES make Numba compile for another processor than this one, and a processor runs what is
compiled for an older family with the features it has. So every family runs here in a process of its own, with its own cache
of compiled kernels: with the instructions, the vector width and the scheduling of that family.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from places import ROOT

# By the levels of the x86-64 psABI, and what the families have beyond theirs that could change generated code.
_BASE = "64bit cmov cx8 fxsr mmx sse sse2"
_AVX2 = f"{_BASE} avx avx2 bmi bmi2 crc32 cx16 f16c fma fsgsbase lzcnt movbe popcnt sahf sse3 sse4.1 sse4.2 ssse3 xsave"
_AVX512 = f"{_AVX2} adx aes avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pclmul prfchw rdrnd rdseed xsaveopt"
_ZEN4 = (
    f"{_AVX512} avx512bf16 avx512bitalg avx512ifma avx512vbmi avx512vbmi2 avx512vnni avx512vpopcntdq gfni rdpid sha vaes "
    "vpclmulqdq"
)
_ZEN4_EXTRA = "clzero mwaitx sse4a wbnoinvd xsavec xsaves"
_ZEN5_EXTRA = f"{_ZEN4_EXTRA} avx512vp2intersect avxvnni movdir64b movdiri prefetchi"


@dataclass(frozen=True)
class Family:
    """cpu: LLVM's name of one of its processors; needs: the features without which a processor cannot run its code; extra:
    features it has beyond those, used where this processor has them too."""

    cpu: str
    needs: frozenset[str]
    extra: frozenset[str] = frozenset()

    def missing(self, host: frozenset[str]) -> list[str]:
        return sorted(self.needs - host)

    def features(self, host: dict[str, bool]) -> str:
        """For NUMBA_CPU_FEATURES: every feature LLVM knows, with the sign it has on both."""
        chosen = self.needs | self.extra
        return ",".join(("+" if has and name in chosen else "-") + name for name, has in sorted(host.items()))


FAMILIES = {
    cpu: Family(cpu, frozenset(needs.split()), frozenset(extra.split()))
    for cpu, needs, extra in (
        ("x86-64", _BASE, ""),
        ("haswell", _AVX2, ""),
        ("skylake-avx512", _AVX512, ""),
        ("znver4", _ZEN4, _ZEN4_EXTRA),
        ("znver5", _ZEN4, _ZEN5_EXTRA),
    )
}


@dataclass(frozen=True)
class Target:
    """A processor that is compiled for and not run, by LLVM's names."""

    triple: str
    cpu: str
    features: str


AARCH64 = Target("aarch64-unknown-linux-gnu", "generic", "+neon")


def host_features() -> dict[str, bool]:
    """What this processor has, by LLVM's names; empty where it is no x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    import llvmlite.binding as llvm

    return dict(llvm.get_host_cpu_features())


def executable() -> dict[str, str]:
    """Every family: why it cannot run here, or "" where it can."""
    host = host_features()
    if not host:
        return dict.fromkeys(FAMILIES, f"this is no x86 processor but {platform.machine()}")
    present = frozenset(name for name, has in host.items() if has)
    missing = {cpu: family.missing(present) for cpu, family in FAMILIES.items()}
    return {cpu: f"this processor has no {', '.join(names)}" if names else "" for cpu, names in missing.items()}


def environment(cpu: str, folder: Path) -> dict[str, str]:
    """Of a process that compiles for this family, keeping compiled kernels in `folder`."""
    features = FAMILIES[cpu].features(host_features())
    return {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(folder / cpu)}


def run(cpu: str, folder: Path, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` as this family."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment(cpu, folder), cwd=ROOT, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
