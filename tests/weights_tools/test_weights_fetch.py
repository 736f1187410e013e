"""`epcore.weights_tools.fetch` against a server on this machine that breaks, lies, hangs and sends on."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import Plan, serving, write_table

from epcore.weights_tools import published
from epcore.weights_tools.fetch import Patience, fetch
from epcore.weights_tools.published import PublishedFile, published_file

CONTENT = np.random.default_rng(5).bytes(300_000)
CUT = 6 << 14  # bytes; what is short of a piece of 16 KB is lost when a connection breaks
OTHER = np.random.default_rng(6).bytes(300_000)
SOON = Patience(connect=0.5, read=0.5, breaks=3, pause=0)
AT_ONCE = Patience(connect=0.5, read=0.5, breaks=1, pause=0)
NAME = "EfficientPoseRT.h5"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for published weights; no proxies of the machine's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(published, "_TABLE", tmp_path / "table.toml")
    return tmp_path / "kept"


@pytest.fixture
def plan(tmp_path: Path, folder: Path) -> Iterator[Plan]:
    """A server that is named in the table."""
    plan = Plan(CONTENT)
    with serving(plan) as address:
        write_table(tmp_path / "table.toml", address, CONTENT)
        published._read.cache_clear()
        yield plan
    published._read.cache_clear()


def kept(folder: Path) -> dict[str, bytes]:
    """All files below the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RIGHT = {NAME: CONTENT}


def rt() -> PublishedFile:
    return published_file("RT")


def leave_part(folder: Path, content: bytes, etag: str = '"one"') -> None:
    part = folder / f"{NAME}.part"
    part.mkdir(parents=True)
    (part / "content").write_bytes(content)
    (part / "etag").write_text(etag)


def test_a_file_comes_once(plan: Plan, folder: Path) -> None:
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert not fetch(rt(), SOON)
    assert len(plan.seen) == 1


def test_size_and_ranges_are_not_needed(plan: Plan, folder: Path, tmp_path: Path) -> None:
    address = rt().address.removesuffix(NAME)
    write_table(tmp_path / "table.toml", address, CONTENT, size=False)
    published._read.cache_clear()
    plan.etag, plan.cuts = "", [CUT]
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert ["range" in headers for headers in plan.seen] == [False, False]


@pytest.mark.parametrize("how", ["cuts", "hangs"])
def test_what_breaks_in_the_middle_goes_on_from_there(plan: Plan, folder: Path, how: str) -> None:
    setattr(plan, how, [CUT, CUT // 2])
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert [headers.get("range") for headers in plan.seen] == [None, "bytes=98304-", "bytes=147456-"]
    assert [headers.get("if-range") for headers in plan.seen] == [None, '"one"', '"one"']


def test_the_next_fetch_goes_on_where_one_was_given_up(plan: Plan, folder: Path) -> None:
    plan.cuts = [CUT]
    with pytest.raises(OSError, match=r"cannot fetch http://127.*the connection broke 1 times; what came is kept") as caught:
        fetch(rt(), AT_ONCE)
    assert str(folder) in str(caught.value)
    assert kept(folder) == {f"{NAME}.part/content": CONTENT[:CUT], f"{NAME}.part/etag": b'"one"'}
    assert not rt().is_here()
    assert fetch(rt(), AT_ONCE)
    assert kept(folder) == RIGHT
    assert plan.seen[1]["range"] == "bytes=98304-"


def test_a_weak_name_is_none_to_go_on_with(plan: Plan, folder: Path) -> None:
    plan.etag, plan.cuts = 'W/"one"', [CUT]
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert ["range" in headers for headers in plan.seen] == [False, False]


def test_a_part_of_what_the_server_had_before(plan: Plan, folder: Path) -> None:
    leave_part(folder, OTHER[:CUT], '"zero"')
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert len(plan.seen) == 1


@pytest.mark.parametrize("lies", ["the part", "the server"])
def test_a_part_of_something_else_poisons_nothing(plan: Plan, folder: Path, lies: str) -> None:
    """The names agree, the bytes do not: only the digest of the whole can tell."""
    leave_part(folder, OTHER[:CUT], '"one"' if lies == "the part" else '"zero"')
    plan.believes = lies == "the server"
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert ["range" in headers for headers in plan.seen] == [True, False]


def test_a_range_that_begins_elsewhere(plan: Plan, folder: Path) -> None:
    leave_part(folder, CONTENT[:CUT])
    plan.shift = 7
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert ["range" in headers for headers in plan.seen] == [True, False]  # seen at once, not when the digest was wrong


@pytest.mark.parametrize("more", [b"", b"abc"])
def test_a_part_as_long_as_the_file_or_longer(plan: Plan, folder: Path, more: bytes) -> None:
    leave_part(folder, OTHER + more)
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT


def test_a_part_that_is_the_whole_file_asks_for_nothing(plan: Plan, folder: Path) -> None:
    leave_part(folder, CONTENT)
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert plan.seen == []


@pytest.mark.parametrize("before", [b"", OTHER[:9]])
def test_another_file_at_the_address(plan: Plan, folder: Path, before: bytes) -> None:
    plan.content = OTHER
    if before:
        leave_part(folder, before)
    with pytest.raises(ValueError, match=rf"{NAME} gives another file .* is sha256:\w+, expected sha256:\w+; nothing was kept"):
        fetch(rt(), SOON)
    assert kept(folder) == {}


def test_a_file_without_end(plan: Plan, folder: Path) -> None:
    plan.content = CONTENT + OTHER
    with pytest.raises(OSError, match="the server sends more than the 300,000 bytes that it may be"):
        fetch(rt(), SOON)
    assert NAME not in kept(folder)


def test_a_wrong_file_of_that_name_is_replaced(plan: Plan, folder: Path) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(OTHER)
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (503, "503 Service Unavailable"), (403, "403 Forbidden")]
)
def test_the_server_says_no(plan: Plan, folder: Path, status: int, words: str) -> None:
    plan.status = status
    with pytest.raises(OSError, match=rf"cannot fetch http\S+{NAME}: the server says {words}\. .* put into {folder}"):
        fetch(rt(), SOON)
    assert kept(folder) == {}
    assert len(plan.seen) == 1


def silent_port() -> socket.socket:
    """Takes connections and says nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_no_network(plan: Plan, folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: refused
        write_table(tmp_path / "table.toml", f"http://127.0.0.1:{taken.getsockname()[1]}/", CONTENT)
        published._read.cache_clear()
        with pytest.raises(OSError, match=rf"no connection to 127\.0\.0\.1 \(Connection refused\)\. .* put into {folder}"):
            fetch(rt(), SOON)
    assert kept(folder) == {}


def test_a_server_that_says_nothing(plan: Plan, folder: Path, tmp_path: Path) -> None:
    with silent_port() as silent:
        write_table(tmp_path / "table.toml", f"http://127.0.0.1:{silent.getsockname()[1]}/", CONTENT)
        published._read.cache_clear()
        with pytest.raises(OSError, match=r"no answer from 127\.0\.0\.1 within 0\.5 s\. "):
            fetch(rt(), SOON)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_hangs(plan: Plan, folder: Path, tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "table.toml", f"{scheme}://example.invalid/", CONTENT)
    published._read.cache_clear()
    with silent_port() as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(f"{scheme}_proxy", f"http://user:secret@127.0.0.1:{port}")
        with pytest.raises(
            OSError, match=rf"from example\.invalid through the proxy 127\.0\.0\.1:{port} within 0\.5 s"
        ) as caught:
            fetch(rt(), SOON)
    assert "secret" not in str(caught.value)


def test_a_proxy_that_is_not_there(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "table.toml", "https://example.invalid/", CONTENT)
    published._read.cache_clear()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(OSError, match=rf"no connection to example\.invalid through the proxy 127\.0\.0\.1:{port} "):
            fetch(rt(), SOON)


def test_a_redirect_is_followed_and_gone_on_with(plan: Plan, folder: Path) -> None:
    plan.location, plan.cuts = "/moved", [CUT]
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert [headers.get("range") for headers in plan.seen] == [None, None, "bytes=98304-", "bytes=98304-"]


class TestTLS:
    @pytest.fixture
    def secure(self, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
        """A server with a certificate of an authority whose own is in authority.pem."""
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        plan = Plan(CONTENT)
        with serving(plan, context) as address:
            write_table(tmp_path / "table.toml", address, CONTENT)
            published._read.cache_clear()
            yield plan
        published._read.cache_clear()

    def test_a_redirect_within_https(self, secure: Plan, folder: Path) -> None:
        secure.location = "/moved"
        assert fetch(rt(), SOON)
        assert kept(folder) == RIGHT

    def test_a_redirect_away_from_https_is_refused(self, secure: Plan, folder: Path) -> None:
        plain = Plan(CONTENT)
        with serving(plain) as address:
            secure.location = address + NAME
            with pytest.raises(OSError, match=rf"the server sends on to {address}{NAME}, which is not HTTPS"):
                fetch(rt(), SOON)
        assert plain.seen == []
        assert kept(folder) == {}

    def test_a_certificate_of_nobody(self, secure: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(OSError, match=r"the certificate of 127\.0\.0\.1 is not one that is trusted"):
            fetch(rt(), SOON)
        assert kept(folder) == {}


# ---- folders and processes


@pytest.fixture
def read_only(plan: Plan) -> Iterator[Path]:
    """A folder that this process cannot write to, whoever runs it."""
    rt()  # reads the table while it can
    path = Path(tempfile.mkdtemp())
    path.chmod(0o555)
    user = os.geteuid() if hasattr(os, "geteuid") else None
    if user is None:
        pytest.skip("no user to become")
    if user == 0:
        os.seteuid(12345)
    try:
        yield path
    finally:
        if user == 0:
            os.seteuid(0)
        path.chmod(0o755)
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


@pytest.mark.parametrize("below", ["", "new/folder"])
def test_a_folder_that_cannot_be_written(plan: Plan, read_only: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", str(read_only / below))
    with pytest.raises(PermissionError, match=rf"cannot write .*{read_only}.*\(EPCORE_WEIGHTS_FOLDER names another folder\)"):
        fetch(rt(), SOON)
    assert plan.seen == []
    assert list(read_only.iterdir()) == []


def test_what_a_read_only_folder_holds_is_used(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = tmp_path / "held"
    held.mkdir()
    (held / NAME).write_bytes(CONTENT)
    held.chmod(0o555)
    monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", str(held))
    assert not fetch(rt(), SOON)
    assert plan.seen == []


def test_a_file_where_the_folder_should_be(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match=r"cannot write weights to .*file is a file, expected a folder .*another"):
        fetch(rt(), SOON)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(plan: Plan, folder: Path) -> None:
    part = folder / f"{NAME}.part"
    part.mkdir(parents=True)
    (part / "content").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write \S+content: No space left on device"):
        fetch(rt(), SOON)
    assert not (folder / NAME).exists()


PROCESS = """
import sys
from pathlib import Path
from epcore.weights_tools import published
published._TABLE = Path(sys.argv[1])
from epcore.weights_tools.fetch import fetch
print("asks", flush=True)
print(fetch(published.published_file("RT")), flush=True)
"""


def process(table: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(table)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once(plan: Plan, folder: Path, tmp_path: Path) -> None:
    plan.pause = 0.1  # two seconds for the whole
    both = [process(tmp_path / "table.toml") for _ in range(2)]
    said = [one.communicate(timeout=60) for one in both]
    assert sorted(out for out, _ in said) == ["asks\nFalse\n", "asks\nTrue\n"], said
    assert kept(folder) == RIGHT
    assert len(plan.seen) == 1


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_that_is_killed_leaves_what_can_be_gone_on_with(plan: Plan, folder: Path, tmp_path: Path) -> None:
    plan.hangs = [CUT]
    with process(tmp_path / "table.toml") as one:
        content = folder / f"{NAME}.part/content"
        for _ in range(600):
            if content.exists() and content.stat().st_size == CUT:
                break
            time.sleep(0.1)
        one.send_signal(signal.SIGKILL)
    assert one.returncode == -signal.SIGKILL
    assert NAME not in kept(folder)
    assert fetch(rt(), SOON)
    assert kept(folder) == RIGHT
    assert plan.seen[1]["range"] == "bytes=98304-"


def test_without_pooch(plan: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"pip install 'epcore\[fetch\]', or get http\S+{NAME} and put it into {folder}"
    ):
        fetch(rt(), SOON)
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(CONTENT)
    assert not fetch(rt(), SOON)
