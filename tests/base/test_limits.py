"""How many threads by default: cores, quota and memory of a container, and what EPCORE_THREADS may say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import epcore
from epcore import threads
from epcore.base import limits
from epcore.base.limits import cpu_quota, memory_limit

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
V1 = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
GROUPS_V1 = "4:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:/elsewhere\n0::/\n"
NO_LIMIT_V1 = "9223372036854771712\n"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A root folder with /proc/self and /sys/fs/cgroup like these."""
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_nothing_to_read(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "50000 100000", 0.5),
        ("400000 100000", "200000 50000", 4.0),
        ("300000 100000", "200000 100000", 2.0),
        ("max 100000", "max 100000", None),
        ("", "nonsense", None),
        ("0 0", "100000 0", None),
    ],
)
def test_version_2_takes_the_least_of_all_groups_above(tmp_path: Path, own: str, above: str, expected: float | None) -> None:
    files = {"pods/cpu.max": f"{above}\n", "pods/one/cpu.max": f"{own}\n", "other/cpu.max": "1000 100000\n"}
    assert cpu_quota(tree(tmp_path, "0::/pods/one\n", V2, files)) == expected


def test_version_2_memory(tmp_path: Path) -> None:
    files = {
        "a/memory.max": "1000000\n",
        "a/b/memory.max": "max\n",
        "a/b/memory.high": "700000\n",
        "a/b/c/memory.max": "800000",
    }
    assert memory_limit(tree(tmp_path, "0::/a/b/c\n", V2, files)) == 700000


@pytest.mark.parametrize("path", ["/", "/../../elsewhere", "/not/seen/from/here"])
def test_inside_a_name_space_the_mount_itself_is_ours(tmp_path: Path, path: str) -> None:
    root = tree(tmp_path, f"0::{path}\n", V2, {"cpu.max": "250000 100000\n", "memory.max": "536870912\n"})
    assert cpu_quota(root) == 2.5
    assert memory_limit(root) == 512 << 20


@pytest.mark.parametrize("top", ["/", "/docker/one"])
def test_version_1(tmp_path: Path, top: str) -> None:
    """Mounted whole, or only the container's own group (as Docker does)."""
    below = "docker/one/" if top == "/" else ""
    files = {
        f"cpu,cpuacct/{below}cpu.cfs_quota_us": "350000\n", f"cpu,cpuacct/{below}cpu.cfs_period_us": "100000\n",
        f"memory/{below}memory.limit_in_bytes": "268435456\n",
        "unified/cpu.max": "1000 100000\n" if top == "never" else "max 100000\n",
    }  # fmt: skip
    root = tree(tmp_path, GROUPS_V1.format(path="/docker/one"), V1.format(top=top), files)
    assert cpu_quota(root) == 3.5
    assert memory_limit(root) == 256 << 20


def test_version_1_without_limits(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    files["memory/memory.limit_in_bytes"] = NO_LIMIT_V1
    root = tree(tmp_path, GROUPS_V1.format(path="/"), V1.format(top="/"), files)
    assert cpu_quota(root) is None
    assert memory_limit(root) is None


def test_version_1_group_above(tmp_path: Path) -> None:
    files = {"memory/a/memory.limit_in_bytes": "1000000\n", "memory/a/b/memory.limit_in_bytes": NO_LIMIT_V1}
    assert memory_limit(tree(tmp_path, GROUPS_V1.format(path="/a/b"), V1.format(top="/"), files)) == 1000000


def test_mount_point_with_a_blank(tmp_path: Path) -> None:
    mounts = r"31 23 0:28 / /sys/fs/cgroup/my\040groups rw - cgroup2 cgroup2 rw"
    assert cpu_quota(tree(tmp_path, "0::/\n", mounts, {"my groups/cpu.max": "100000 100000"})) == 1.0


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process that nobody has told a number."""
    monkeypatch.delenv("EPCORE_THREADS", raising=False)
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setattr(threads, "_default", None)
    return monkeypatch


@pytest.mark.parametrize(
    ("cores", "quota", "memory", "expected"),
    [
        (8, None, None, 8), (8, 1.5, None, 2), (8, 0.1, None, 1), (2, 6.0, None, 2), (64, 64.0, 256 << 20, 32),
        (8, None, 256 << 20, 8), (64, None, 1 << 20, 1), (64, 2.0, 64 << 30, 2), (1 << 20, None, None, threads.MOST),
    ],
)  # fmt: skip
def test_default(fresh: pytest.MonkeyPatch, cores: int, quota: float | None, memory: int | None, expected: int) -> None:
    fresh.setattr(threads, "usable_cores", lambda: cores)
    fresh.setattr(threads, "cpu_quota", lambda: quota)
    fresh.setattr(threads, "memory_limit", lambda: memory)
    assert epcore.get_threads() == expected


def test_default_is_found_once(fresh: pytest.MonkeyPatch) -> None:
    found = epcore.get_threads()

    def again() -> int:
        raise AssertionError("looked again")

    fresh.setattr(threads, "usable_cores", again)
    assert epcore.get_threads() == found


def test_environment_is_read_again_when_it_changes(fresh: pytest.MonkeyPatch) -> None:
    default = epcore.get_threads()
    for count in ("3", "5", "3"):
        fresh.setenv("EPCORE_THREADS", count)
        assert epcore.get_threads() == int(count)
    fresh.delenv("EPCORE_THREADS")
    assert epcore.get_threads() == default


@pytest.mark.parametrize("text", ["0", "-1", "100000", "x", "", "1.5", "٣", "9" * 5000])
def test_environment_that_makes_no_sense(fresh: pytest.MonkeyPatch, text: str) -> None:
    fresh.setenv("EPCORE_THREADS", text)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"EPCORE_THREADS is .*, expected a whole number from 1 to \d+"):
            epcore.get_threads()


@pytest.mark.parametrize("count", [0, -1, 100_000, 1.0, True, "2"])
def test_numbers_that_make_no_sense(fresh: pytest.MonkeyPatch, count: object) -> None:
    with pytest.raises(ValueError, match="threads is"):
        epcore.set_threads(count)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads is"):
        epcore.compile(epcore.EfficientPose("RT"), threads=count)  # type: ignore[arg-type]


def python(code: str, **options: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "EPCORE_THREADS"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, env=environment, **options
    )  # type: ignore[call-overload]
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_affinity_counts() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity of processes to cores")
    core = min(os.sched_getaffinity(0))
    assert python(f"import os; os.sched_setaffinity(0, [{core}]); import epcore; print(epcore.get_threads())") == "1"


def test_a_real_control_group() -> None:
    """A group of our own below the one we are in, with a quota of one CPU."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        pytest.skip("no control groups on this system")
    version, own = next(limits._groups(Path("/"), "cpu"), (0, Path("/nonexistent")))
    group = own / f"epcore-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            if version == 2:
                (group / "cpu.max").write_text("100000 100000")
            else:
                (group / "cpu.cfs_quota_us").write_text("100000")
        except OSError as error:
            pytest.skip(f"groups made here have no CPU quota: {error}")
        join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
        code = f"{join}; import epcore, epcore.base.limits; print(epcore.base.limits.cpu_quota(), epcore.get_threads())"
        assert python(code) == "1.0 1"
    finally:
        group.rmdir()
