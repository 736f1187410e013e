"""The MPII reader on small files with the real nesting, in all the forms that the real file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpii_helpers import EMPTY, picture, point, rectangle, structs, write
from PIL import Image
from scipy.io import savemat

from epcore.cli import main
from epcore.data.mpii import MPII, images_folder
from epcore.data.mpii_annotations import MAT_NAME, find_mat, read_annotations
from epcore.data.mpii_splits import read_split, split_names
from epcore.data.record import crop_square
from epcore.pose.skeleton import KEYPOINTS

ANKLE = KEYPOINTS.index("right_ankle")  # MPII id 0
KNEE = KEYPOINTS.index("right_knee")  # 1
NECK = KEYPOINTS.index("upper_neck")  # 8
TOP = KEYPOINTS.index("head_top")  # 9


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three training pictures with 1, 2 and 0 annotated persons, a test picture."""
    (tmp_path / "images").mkdir()
    pictures = [
        picture("one.jpg", rectangle(point(11, 21, 0), point(12, 22, 1, 0), point(13, 23, 8, EMPTY), point(14, 24, 9, EMPTY))),
        picture("two.jpg", rectangle(point(50, 60, 0, "1")), rectangle(point(70, 80, 0, "0"), point(71, 81, 1, "1"), x=200)),
        picture("none.jpg"),
        picture("test.jpg", rectangle(point(1, 2, 0))),
    ]
    write(tmp_path, pictures, [1, 1, 1, 0])
    for index, name in enumerate(("one.jpg", "two.jpg", "none.jpg", "test.jpg")):
        Image.new("RGB", (300, 200), (index, 100, 50)).save(tmp_path / "images" / name)
    return tmp_path


def test_coordinates_order_and_visibility(dataset: Path) -> None:
    annotations = read_annotations(dataset / MAT_NAME, dataset / "images")
    assert (annotations.pictures, annotations.train_pictures, annotations.problems) == (4, 3, [])
    one, first, second = annotations.records
    assert [record.name for record in annotations.records] == ["one.jpg#0", "two.jpg#0", "two.jpg#1"]
    # 1-based centres of pixels -> 0-based corners: minus 0.5
    np.testing.assert_array_equal(
        one.keypoints[[ANKLE, KNEE, NECK, TOP]], [(10.5, 20.5), (11.5, 21.5), (12.5, 22.5), (13.5, 23.5)]
    )
    assert one.annotated.sum() == 4
    assert np.isnan(one.keypoints[~one.annotated]).all()
    assert one.visible[[ANKLE, KNEE, NECK, TOP]].tolist() == [True, False, True, True]  # number 1, number 0, empty, empty
    assert first.visible[ANKLE]  # text
    assert second.visible[[ANKLE, KNEE]].tolist() == [False, True]
    assert one.head_box is not None
    np.testing.assert_array_equal(one.head_box, (89.5, 19.5, 119.5, 59.5))
    np.testing.assert_array_equal(one.center, (99.5, 79.5))
    # the custom: 15 * scale lower, 1.25 * 200 * scale wide
    np.testing.assert_allclose(crop_square(one), (99.5, 79.5 + 15 * 1.2, 300))
    assert [len(record.others) for record in annotations.records] == [0, 1, 1]
    assert first.others[0].keypoints[ANKLE].tolist() == [69.5, 79.5]


def test_a_file_with_a_single_picture_and_person(tmp_path: Path) -> None:
    """Every struct array has one element, so all of them come back as single structs."""
    mat = write(tmp_path, [picture("a.jpg", rectangle(point(5, 6, 15)))], [1])
    (record,) = read_annotations(mat, tmp_path).records
    assert record.keypoints[KEYPOINTS.index("left_wrist")].tolist() == [4.5, 5.5]


def test_what_may_be_missing(tmp_path: Path) -> None:
    """Fields that some rectangles lack are empty in the struct array; others are absent altogether."""
    no_head = rectangle(point(1, 2, 0)) | dict.fromkeys(("x1", "y1", "x2", "y2"), EMPTY)
    no_position = rectangle(point(1, 2, 0)) | {"objpos": EMPTY}
    flat_head = rectangle(point(1, 2, 0), x2=90)
    unlabelled = rectangle()
    bare = {"x1": 1, "y1": 2, "x2": 3, "y2": 4}  # persons of whom nothing but the head is known
    no_flag = rectangle()
    no_flag["annopoints"] = structs({"point": structs({"x": 3.0, "y": 4.0, "id": 2})})
    mat = write(
        tmp_path,
        [
            picture("a.jpg", no_head, no_position, flat_head, unlabelled),
            picture("b.jpg", bare),
            picture("c.jpg", no_flag, rectangle(point(1, 2, 0), scale=0.0)),
        ],
        [1, 1, 1],
    )
    annotations = read_annotations(mat, tmp_path)
    assert [record.name for record in annotations.records] == ["a.jpg#0", "a.jpg#2", "c.jpg#0"]
    assert [record.head_box is None for record in annotations.records] == [True, True, False]
    assert len(annotations.records[0].others) == 2  # whom nobody can crop may still stand in the picture
    assert annotations.records[2].visible[KEYPOINTS.index("right_hip")]
    assert [problem.split(":")[0] for problem in annotations.problems] == ["a.jpg#1", "a.jpg#2", "c.jpg#1"]
    assert "objpos" in annotations.problems[0]
    assert "zero size" in annotations.problems[1]
    assert "scale is 0" in annotations.problems[2]


def test_zero_size_crop_is_an_error(tmp_path: Path) -> None:
    mat = write(tmp_path, [picture("a.jpg", rectangle(point(5, 6, 15), scale=1e-4))], [1])
    (record,) = read_annotations(mat, tmp_path).records
    with pytest.raises(ValueError, match=r"a\.jpg#0.*expected at least 1"):
        crop_square(record)


def test_truncated_file(dataset: Path) -> None:
    mat = dataset / MAT_NAME
    content = mat.read_bytes()
    for keep in (0, 50, 130, len(content) // 2, len(content) - 7):
        mat.write_bytes(content[:keep])
        with pytest.raises(ValueError, match=r"is not a readable \.mat file|has no variable RELEASE"):
            read_annotations(mat, dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": 1}, "no variable RELEASE"),
        ({"RELEASE": np.arange(3)}, "RELEASE is a ndarray, expected a struct with the field annolist"),
        ({"RELEASE": structs({"annolist": 1})}, "RELEASE has the fields annolist, expected img_train"),
        ({"RELEASE": structs({"annolist": structs({"image": 1}), "img_train": np.ones(2)})}, "img_train has 2 entries"),
        (
            {"RELEASE": structs({"annolist": structs({"picture": 1}), "img_train": 1})},
            r"annolist\[0\] has the fields picture, expected image",
        ),
        (
            {"RELEASE": structs({"annolist": structs({"image": structs({"name": 3})}), "img_train": 1})},
            r"annolist\[0\].image.name is 3",
        ),
        (
            {"RELEASE": structs({"annolist": structs(picture("a.jpg", rectangle(point(1, 2, 16)))), "img_train": 1})},
            r"annorect\[0\].annopoints.point\[0\].id is 16, expected 0 to 15",
        ),
        (
            {"RELEASE": structs({"annolist": structs(picture("a.jpg", rectangle({"x": 1.0, "id": 3}))), "img_train": 1})},
            r"point\[0\] lacks x, y or id",
        ),
    ],
)
def test_wrong_nesting_says_where(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "wrong.mat", content)
    with pytest.raises(ValueError, match=message):
        read_annotations(tmp_path / "wrong.mat", tmp_path)


def test_split_is_random_complete_and_keeps_pictures_together() -> None:
    names = [f"{picture:05}.jpg#{person}" for picture in range(2000) for person in range(1 + picture % 3)]
    train, validation = split_names(names, seed=3)
    assert sorted(train + validation) == sorted(names)
    assert {name.split("#")[0] for name in train}.isdisjoint(name.split("#")[0] for name in validation)
    assert 0 <= len(validation) - round(len(names) * 3 / 29) <= 2  # the last picture may have up to two persons too many
    assert split_names(names, seed=3) == (train, validation)
    assert split_names(names[::-1], seed=3)[1] == validation[::-1]  # whatever the order
    assert split_names(names, seed=4) != (train, validation)


def test_split_files(dataset: Path) -> None:
    file = dataset / "mine.txt"
    file.write_text("# my split\none.jpg\n\ntwo.jpg#1\n")
    assert read_split(file) == {"one.jpg", "two.jpg#1"}
    assert [record.name for record in MPII(dataset, split_file=file).records] == ["one.jpg#0", "two.jpg#1"]
    file.write_text("three.jpg\n")
    with pytest.raises(ValueError, match=r"1 names are not in the annotations, the first: three\.jpg"):
        MPII(dataset, split_file=file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="names no pictures"):
        read_split(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not text"):
        read_split(file)
    with pytest.raises(FileNotFoundError, match="no split file"):
        read_split(dataset / "no.txt")


def everyone(folder: Path) -> Path:
    file = folder / "everyone.txt"
    file.write_text("one.jpg\ntwo.jpg\n")
    return file


def test_missing_pictures_are_listed_and_skipped_only_if_asked(dataset: Path) -> None:
    split_file = everyone(dataset)
    (dataset / "images" / "two.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 pictures are missing.*two\.jpg"):
        MPII(dataset, split_file=split_file)
    data = MPII(dataset, split_file=split_file, skip_broken=True)
    assert [data.record(index).name for index in range(len(data))] == ["one.jpg#0"]
    assert data.skipped == ["two.jpg#0", "two.jpg#1"]


def test_damaged_pictures_are_named_and_skipped_only_if_asked(dataset: Path) -> None:
    split_file = everyone(dataset)
    image = dataset / "images" / "one.jpg"
    image.write_bytes(image.read_bytes()[:-300])
    data = MPII(dataset, split_file=split_file)
    with pytest.raises(ValueError, match=r"one\.jpg is damaged"):
        data.record(0).pixels()
    assert data.record(1).pixels().shape == (200, 300, 3)
    assert MPII(dataset, split_file=split_file, skip_broken=True).skipped == ["one.jpg#0"]


def test_wrong_folders_and_splits(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_mat(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=MAT_NAME):
        find_mat(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no folder images"):
        images_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="split is 'test'"):
        MPII(dataset, "test")
    with pytest.raises(ValueError, match="nobody is left"):  # 3 persons: the share of validation is rounded to none
        MPII(dataset, "validation")


def test_check_command(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(dataset)]) == 0
    text = capsys.readouterr().out
    assert "4 pictures, 3 of them annotated" in text
    assert "3 persons" in text
    (dataset / "images" / "two.jpg").write_bytes(b"")
    assert main(["data", "check", str(dataset), "--quick", "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["persons"] == 3
    assert report["annotated"]["right_ankle"] == 3
    assert report["visible"]["right_ankle"] == 2
    assert list(report["broken_pictures"]) == ["two.jpg"]


def test_split_command_writes_what_the_reader_takes(dataset: Path, tmp_path: Path) -> None:
    train, validation = tmp_path / "train.txt", tmp_path / "validation.txt"
    assert main(["data", "split", str(dataset), str(train), str(validation)]) == 0
    assert [record.name for record in MPII(dataset, split_file=train).records] == train.read_text().split()
    assert len(train.read_text().split() + validation.read_text().split()) == 3


def test_command_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("epcore: error: mpii_human_pose")
    assert captured.err.count("\n") == 1


def test_every_keypoint_has_the_data_sets_id(tmp_path: Path) -> None:
    """Against the names that the data set's own page gives to its ids."""
    published = (
        "r ankle,r knee,r hip,l hip,l knee,l ankle,pelvis,thorax,upper neck,head top,"
        "r wrist,r elbow,r shoulder,l shoulder,l elbow,l wrist"
    )
    points = [point(10 * mpii_id + 1, 5, mpii_id) for mpii_id in range(16)]
    (record,) = read_annotations(write(tmp_path, [picture("a.jpg", rectangle(*points))], [1]), tmp_path).records
    for mpii_id, name in enumerate(published.split(",")):
        ours = name.replace("r ", "right_").replace("l ", "left_") if name[1] == " " else name.replace(" ", "_")
        assert record.keypoints[KEYPOINTS.index(ours), 0] == 10 * mpii_id + 0.5
