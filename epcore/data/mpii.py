"""The MPII Human Pose data set: the persons of one split, and whether their pictures are there and whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from epcore.data.annotations import file_of_split, read_people
from epcore.data.mpii_splits import SPLITS, records_of_split
from epcore.data.record import Record
from epcore.pose.picture import open_picture


class MPII:
    """One split of the data set; see `Dataset` in `preparation`.

    folder: has annotations in one of the forms of `annotations`, and images/. split: "train" or "validation", as the files
    divide them or, where one file has both, at random by split_seed; split_file: names what belongs to this split instead.
    first_pixel: as in `read_people`. skip_broken: leave out persons whose picture is missing or
    damaged (every picture is decoded once to find out, which takes minutes); else a missing picture is an error now, a damaged
    one when it is read. need_head_box: only persons that PCKh can be computed for.

    Raises FileNotFoundError for missing files, ValueError for damaged ones and for a split that holds nobody.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str = "train",
        *,
        split_seed: int = 0,
        split_file: str | os.PathLike[str] | None = None,
        skip_broken: bool = False,
        need_head_box: bool = False,
        first_pixel: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
        file, whole = file_of_split(folder, split)
        images = images_folder(folder)
        annotations = read_people(file, images, first_pixel=first_pixel)
        records = annotations.records
        if split_file is not None or not whole:
            records = records_of_split(records, split, seed=split_seed, split_file=split_file)
        self.problems = list(annotations.problems)
        self.skipped: list[str] = []
        broken = dict(broken_pictures(picture_paths(records), decode=True)) if skip_broken else _missing(records, images)
        if broken and not skip_broken:
            first = ", ".join(path.name for path in list(broken)[:3])
            raise FileNotFoundError(
                f"{len(broken)} pictures are missing in {images}: {first}, ...; to go on without, skip them"
            )
        self.skipped = [record.name for record in records if record.image in broken]
        kept = [record for record in records if record.image not in broken]
        if need_head_box:
            measured = [record for record in kept if record.head_box is not None]
            if kept and not measured:
                why = [note for note in annotations.notes if "head boxes" in note] or ["no head boxes: PCKh cannot be computed"]
                raise ValueError(f"{file}: {why[0]}")
            kept = measured
        if not kept:
            raise ValueError(f"{file}: nobody is left in the split {split_file or split}")
        self.records = kept

    def __len__(self) -> int:
        return len(self.records)

    def record(self, index: int, epoch: int = 0) -> Record:
        """Person `index`, the same in every epoch."""
        return self.records[index]


def images_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of the pictures. Raises FileNotFoundError."""
    root = Path(folder)
    for candidate in (
        (root / "images", root.parent / "images", root.parent.parent / "images") if root.is_file() else (root / "images",)
    ):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"there is no folder images in {root}, expected the pictures of MPII there")


def _missing(records: Iterable[Record], images: Path) -> dict[Path, str]:
    present = {entry.name for entry in os.scandir(images)}
    return {path: "missing" for path in picture_paths(records) if path.name not in present}


def picture_paths(records: Iterable[Record]) -> list[Path]:
    """Pictures of the records, each once."""
    return list(dict.fromkeys(record.image for record in records if isinstance(record.image, Path)))


def broken_pictures(paths: Iterable[Path], *, decode: bool) -> Iterator[tuple[Path, str]]:
    """Pictures that are missing or damaged, and why. decode: read every pixel (minutes), else only headers."""
    for path in paths:
        try:
            with open_picture(path) as opened:
                if decode:
                    opened.convert("RGB")
        except Exception as error:  # as in Record.pixels
            yield path, str(error) or type(error).__name__
