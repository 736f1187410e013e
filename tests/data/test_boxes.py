"""Files of boxes: the three forms say the same, and what is wrong with one is said in a line that names the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from epcore.data.boxes import read_boxes
from epcore.pose.box import Box

DETECTIONS: list[dict[str, Any]] = [
    {"image_id": 7, "bbox": [1, 2, 30, 40.5], "category_id": 1, "score": 0.9},
    {"image_id": 7, "bbox": [5, 6, 7, 8], "category_id": 18, "score": 0.9},  # a dog
    {"image_id": 9, "bbox": [0, 0, 5, 5], "category_id": 1, "score": 0.2},
    {"image_id": 7, "bbox": [50, 2, 30, 40], "category_id": 1, "score": 0.3},
]
TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "000000000007.jpg"}, {"id": 2, "file_name": "000000000009.jpg"}],
    "annotations": [
        {"id": 0, "image_id": 1, "bbox": [1, 2, 30, 40.5], "category_id": 1},
        {"id": 2, "image_id": 2, "bbox": [0, 0, 5, 5], "category_id": 1},
        {"id": 3, "image_id": 1, "bbox": [50, 2, 30, 40]},
    ],
}
CSV = "image,x,y,width,height,id\nd/000000000007.jpg,1,2,30,40.5,0\n000000000009,0,0,5,5,2\n7,50,2,30,40,3\n"


def written(folder: Path, content: Any, name: str = "boxes.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content"), [("d.json", DETECTIONS), ("t.json", TRUTH), ("b.csv", CSV), ("c.CSV", "\ufeff" + CSV)]
)
def test_every_form_says_the_same(name: str, content: Any, tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, content, name))
    of = [(each.id, each.box) for each in boxes.of("some/where/000000000007.jpg")]
    assert of == [("0", Box(1, 2, 30, 40.5)), ("3", Box(50, 2, 30, 40))]
    assert [each.id for each in boxes.of("000000000009.png")] == ["2"]
    assert boxes.of("17.jpg") == boxes.of("") == []
    assert len(boxes.boxes) == 3


def test_names_without_ids_are_numbered(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, "image,x,y,width,height\na.jpg,1,1,2,2\na.jpg,3,3,4,4\n", "b.csv"))
    assert [each.id for each in boxes.of("x/a.jpg")] == ["0", "1"]
    assert [each.id for each in boxes.of("a.png")] == ["0", "1"]  # by the stem


def changed(**fields: Any) -> list[dict[str, Any]]:
    return [DETECTIONS[0], {**DETECTIONS[0], **fields}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ('"boxes"', "expected a list of detections, or images and annotations"),
        ("[]", "holds no box of a person"),
        ({"images": [], "annotations": []}, "holds no box of a person"),
        ({"annotations": []}, "images is missing, expected a list of images"),
        ([1], "detection 0 is 1, expected an object with named fields"),
        (changed(bbox=[1, 2, 0, 4]), "detection 1: the box 1,2,0,4 has no extent"),
        (changed(bbox=[1, 2, -3, 4]), "detection 1: the box 1,2,-3,4 has no extent"),
        ('[{"image_id": 1, "bbox": [NaN, 0, 1, 1]}]', r"detection 0: bbox\[0\] is NaN, expected a finite number"),
        (changed(bbox=[1, 2, 3]), "detection 1: bbox is a list of 3, expected x, y, width, height"),
        (changed(bbox=None), "detection 1: bbox is null, expected x, y, width, height"),
        (changed(image_id=None), "detection 1: image_id is null, expected a whole number or a text"),
        (changed(image_id=True), "image_id is true"),
        (changed(category_id="person"), 'category_id is "person", expected a number, 1 for persons'),
        (
            {**TRUTH, "annotations": [{"image_id": 5, "bbox": [0, 0, 1, 1]}]},
            "image_id is 5, expected the id of one of the images",
        ),
        ({**TRUTH, "images": [{"id": 1, "file_name": "../x.jpg"}]}, "expected a file below the folder of pictures"),
        ([DETECTIONS[0]] * 501, "has 501 persons, expected at most 500"),
    ],
)
def test_wrong_json(content: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        read_boxes(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column image, expected a first line with image, x, y, width, height"),
        ("image,x,y,w,h\n", "has no column width"),
        ("image,x,y,width,height\n", "holds no box of a person"),
        ("image,x,y,width,height\na,1,2,x,4\n", 'row 1: width is "x", expected a finite number'),
        ("image,x,y,width,height\na,1,2,nan,4\n", 'row 1: width is "nan"'),
        ("image,x,y,width,height\na,1,2\n", "row 1: width is null"),
        ("image,x,y,width,height\na,1,2,3,4\na,1,2,0,4\n", "row 2: the box 1,2,0,4 has no extent"),
        ("image,x,y,width,height\n,1,2,3,4\n", "row 1: image is missing"),
        ('image,x,y,width,height\n"a,1,2,3,4\n', "not readable CSV"),
    ],
)
def test_wrong_csv(content: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content, "b.csv")
    with pytest.raises(ValueError, match=message) as error:
        read_boxes(path)
    assert str(path) in str(error.value)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    for name in ("missing.json", "missing.csv"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read_boxes(tmp_path / name)
    (tmp_path / "b.csv").write_bytes(b"image\xff")
    with pytest.raises(ValueError, match="not readable CSV"):
        read_boxes(tmp_path / "b.csv")
