"""Weight files that others publish (published.toml), and where they are kept: a folder of the user's, checked at every load.

A network's name stands for its published file wherever weights are named, `--weights RT`. `epcore.weights_tools.fetch` gets the
files; one that was put into the folder by hand is as good, since its digest decides.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike, fspath
from pathlib import Path

from epcore.base.notices import Notice
from epcore.models.variants import network_name

VARIABLE = "EPCORE_WEIGHTS_FOLDER"  # names the folder, where it is to be another
_TABLE = Path(__file__).with_name("published.toml")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PublishedFile:
    """network: as tables print it. name: the file's. digest: "sha256:...", "md5:..." or "git-blob:...", hexadecimal.

    size: bytes, None where it is not known. publisher: in words.
    """

    network: str
    name: str
    address: str
    digest: str
    size: int | None
    publisher: str

    @property
    def place(self) -> Path:
        """Where it is kept. Raises OSError as `weights_folder`."""
        return weights_folder() / self.name

    def digest_of(self, path: str | PathLike[str]) -> str:
        """The digest, of the kind that is known of this file, of another one. Raises OSError."""
        kind = self.digest.partition(":")[0]
        with open(path, "rb") as content:
            if kind == "git-blob":
                running = hashlib.sha1(b"blob %d\0" % os.fstat(content.fileno()).st_size, usedforsecurity=False)
            else:
                running = hashlib.new(kind, usedforsecurity=kind != "md5")
            while chunk := content.read(_CHUNK):
                running.update(chunk)
        return f"{kind}:{running.hexdigest()}"

    def check(self, path: str | PathLike[str]) -> None:
        """Raises ValueError, with both digests, where a file is not this one, and OSError where it cannot be read."""
        if (found := self.digest_of(path)) != self.digest:
            raise ValueError(
                f"{fspath(path)} is not {self.name} as it was published: its digest is {found}, expected {self.digest}. "
                f"`epcore weights fetch {self.network.replace(' ', '_')}` replaces it"
            )

    def is_here(self) -> bool:
        """Whether the right file is in the folder."""
        try:
            self.check(self.place)
        except (OSError, ValueError):
            return False
        return True


@cache
def _read(table: Path) -> dict[str, PublishedFile]:
    files: dict[str, PublishedFile] = {}
    for publisher in tomllib.loads(table.read_text(encoding="utf-8"))["publisher"]:
        for row in publisher["files"]:
            facts = {"size": None, **row, "address": publisher["address"] + row["name"], "publisher": publisher["title"]}
            files[row["network"]] = PublishedFile(**facts)
    return files


def published_files() -> Mapping[str, PublishedFile]:
    """All of them, by network."""
    return _read(_TABLE)


def published_file(network: str) -> PublishedFile:
    """The file for a network, by any spelling of its name. Raises ValueError, with those there are, for another name."""
    files = published_files()
    return files[network_name(network, tuple(files))]


def weights_folder() -> Path:
    """Where published files are kept: the folder that EPCORE_WEIGHTS_FOLDER names, else epcore/weights in the user's cache
    folder (~/.cache or XDG_CACHE_HOME, ~/Library/Caches, %LOCALAPPDATA%). Raises OSError for a user without a home.
    """
    if named := os.environ.get(VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(named)))
    from numba.misc.appdirs import AppDirs

    home = Path(os.path.expanduser("~"))  # stays "~" without HOME and without an entry among users
    folder = Path(AppDirs(appname="epcore", appauthor=False).user_cache_dir)
    if not folder.is_absolute() or (home in folder.parents and not home.is_dir()):
        raise FileNotFoundError(f"there is no home, and so no folder for published weights: set {VARIABLE}")
    return folder / "weights"


def find_weights(name: str | PathLike[str]) -> str | PathLike[str]:
    """The file that a name stands for: a path is itself, a network's name is the published file for it, "RT" say.

    A file of that name in the current folder comes first, as it always did, and a Notice says so. Raises OSError, saying how to
    get it, where the published file is not here.
    """
    try:
        file = published_file(fspath(name))
    except ValueError:
        return name
    if os.path.exists(name) and not os.path.isdir(name):
        taken = os.path.abspath(name)
        warnings.warn(
            f"{fspath(name)} is a file in the current folder and is taken; the published weights of that name are "
            f"--weights {file.place}",
            Notice,
            stacklevel=2,
        )
        return taken
    if not file.place.exists():
        raise FileNotFoundError(
            f"the published weights of {file.network} are not here: `epcore weights fetch {fspath(name)}` gets them, or get "
            f"{file.address} and put it into {file.place.parent}"
        )
    return file.place


def check_kept(path: str | PathLike[str]) -> None:
    """Of a file in the folder of published weights that has a published file's name: that it is that file.

    Raises ValueError where it is not, OSError where it cannot be read.
    """
    for file in published_files().values():
        if file.name == os.path.basename(path) and _same(path, file):
            file.check(path)


def _same(path: str | PathLike[str], file: PublishedFile) -> bool:
    try:
        return os.path.realpath(path) == os.path.realpath(file.place)
    except OSError:  # no home: nothing is kept
        return False
