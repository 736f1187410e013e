"""A published weight file from its address into the user's folder: whole, checked, and only then under its name.

pooch's downloader (extra `fetch`) carries the bytes. Its cache is not used: it begins again after every interruption, and git's
digests are unknown to it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from epcore.base.files import check_folder_writable, writing
from epcore.base.progress import progress_bar
from epcore.weights_tools.part import Part, only_here
from epcore.weights_tools.published import VARIABLE, PublishedFile

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 14  # bytes: what is lost, at most, when a connection breaks
_MOST = 1 << 30  # bytes, of a file whose size nobody has said


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for a connection and for the next bytes of an answer; how often a connection may break in the middle."""

    connect: float = 15
    read: float = 30
    breaks: int = 5
    pause: float = 1  # seconds before the second try, one more before each further one


class StoppedError(Exception):
    """Why a download came to no end: words for `_cannot`."""


class StaleError(Exception):
    """What is here cannot be gone on with: the server does not give the rest of it."""


def fetch(file: PublishedFile, patience: Patience = Patience()) -> bool:
    """Make sure that the right file is in `weights_folder()`. False where it already was, and nothing was asked of the network.

    A wrong file of that name is replaced. What an interrupted fetch left is gone on with; it never counts for more than the
    digest of the whole. Raises ValueError where the address gives another file, OSError where the folder cannot be written or
    the address not be reached, saying where to put a file that comes another way, and ModuleNotFoundError without pooch.
    """
    target = file.place
    if file.is_here():
        return False
    try:
        check_folder_writable(target.parent, "weights")
        with writing(target.parent, always=True):
            target.parent.mkdir(parents=True, exist_ok=True)
        with only_here(target) as part:
            if file.is_here():  # another process has just fetched it
                return False
            _complete(file, part, patience)
            part.move(target)
    except OSError as error:
        if isinstance(error, PermissionError | NotADirectoryError):
            raise type(error)(f"{error} ({VARIABLE} names another folder)") from None
        raise
    return True


def _complete(file: PublishedFile, part: Part, patience: Patience) -> None:
    """Fill the part until it is the file."""
    kept = part.size > 0
    if kept and file.digest_of(part.content) == file.digest:  # ended between the last byte and the move
        return
    try:
        _download(file, part, patience)
        if kept and file.digest_of(part.content) != file.digest:  # the part was of something else
            part.begin()
            _download(file, part, patience)
    except StoppedError as stop:
        raise _cannot(file, str(stop)) from None
    if (found := file.digest_of(part.content)) != file.digest:
        part.remove()
        raise ValueError(
            f"{file.address} gives another file than the one that was published: its digest is {found}, expected "
            f"{file.digest}; nothing was kept"
        )


def _download(file: PublishedFile, part: Part, patience: Patience) -> None:
    """Ask until the answer is at its end. A connection that breaks after it brought something is no reason to give up yet."""
    _require_pooch(file)
    import requests

    for broken in range(1, patience.breaks + 1):
        request = _Request(file, part, patience)
        try:
            request.run()
        except StaleError:
            part.begin()
            continue
        except requests.HTTPError as error:
            raise StoppedError(f"the server says {error.response.status_code} {error.response.reason}") from None
        except requests.RequestException as error:
            if not request.received:
                raise StoppedError(_reason(error, file, patience)) from None
        else:
            if file.size is None or part.size >= file.size:
                return
        time.sleep(broken * patience.pause)
    raise StoppedError(f"the connection broke {patience.breaks} times; what came is kept, the next fetch goes on from there")


class _Request:
    """One request for what a part lacks. It stands for the file that pooch's downloader writes to."""

    def __init__(self, file: PublishedFile, part: Part, patience: Patience) -> None:
        self._file, self._part, self._patience = file, part, patience
        self._bar: Any = None
        self._open = ExitStack()
        self.received = 0  # bytes

    def run(self) -> None:
        """Raises what requests raises, and StoppedError."""
        import pooch

        headers = {"Accept-Encoding": "identity"}  # ranges are of the file's own bytes
        if self._part.size and (etag := self._part.etag):
            headers |= {"Range": f"bytes={self._part.size}-", "If-Range": etag}
        download = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            headers=headers,
            timeout=(self._patience.connect, self._patience.read),
            hooks={"response": self._look},
        )
        with self._open:
            download(self._file.address, self, None)

    def _look(self, answer: requests.Response, *_: object, **__: object) -> None:
        """Called for every answer, those that redirect included, before its content is read."""
        self._open.callback(answer.close)
        if answer.is_redirect:
            there = urljoin(answer.url, answer.headers["location"])
            if urlsplit(answer.url).scheme == "https" and urlsplit(there).scheme != "https":
                raise StoppedError(f"the server sends on to {there}, which is not HTTPS")
        elif answer.status_code == 206:
            start = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            if start != str(self._part.size):
                raise StaleError
            self._show(answer)
        elif answer.status_code == 200:
            self._part.begin(answer.headers.get("etag", ""))
            self._show(answer)
        elif answer.status_code == 416 and self._part.size:  # there is nothing behind what is here
            raise StaleError

    def _show(self, answer: requests.Response) -> None:
        length = answer.headers.get("content-length", "")
        total = self._part.size + int(length) if length.isdecimal() else self._file.size
        self._bar = self._open.enter_context(progress_bar(total, self._part.size, "B"))

    def write(self, chunk: bytes) -> None:
        if self._part.size + len(chunk) > (self._file.size or _MOST):
            self._part.begin()
            raise StoppedError(f"the server sends more than the {self._file.size or _MOST:,} bytes that it may be")
        self._part.add(chunk)
        self.received += len(chunk)
        self._bar.update(len(chunk))

    def flush(self) -> None:
        """Every write is one."""


def _require_pooch(file: PublishedFile) -> None:
    """Raises ModuleNotFoundError, saying what to do, where the extra is not installed."""
    try:
        import pooch  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"pooch is not installed: pip install 'epcore[fetch]', or get {file.address} and put it into {file.place.parent}"
        ) from None


def _cannot(file: PublishedFile, reason: str) -> OSError:
    return OSError(
        f"cannot fetch {file.address}: {reason}. A file that comes another way is checked and used where it is put into "
        f"{file.place.parent}"
    )


def _reason(error: requests.RequestException, file: PublishedFile, patience: Patience) -> str:
    """Why nothing came, in words; the proxy in between, if there is one, without what it is asked with."""
    import requests

    proxies = requests.utils.get_environ_proxies(file.address)
    proxy = urlsplit(requests.utils.select_proxy(file.address, proxies) or "")
    through = f" through the proxy {proxy.hostname}:{proxy.port}" if proxy.hostname else ""
    host = urlsplit(file.address).hostname
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection to {host}{through} within {patience.connect:g} s"
    if isinstance(error, requests.Timeout):
        return f"no answer from {host}{through} within {patience.read:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host}{through} is not one that is trusted"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {host}{through}{_of_the_system(error)}"
    return f"{type(error).__name__}: {error}"


def _of_the_system(error: BaseException | None) -> str:
    """What the operating system said, in brackets, somewhere below what requests makes of it."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return f" ({error.strerror})"
        error = error.__cause__ or error.__context__
    return ""
