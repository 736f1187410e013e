"""What other programs read: each format read back, by the programs' own readers where there are some."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from epcore.pose.formats import Format, Observation
from epcore.pose.formats.angles import ANGLES, AngleTable, joint_angles
from epcore.pose.formats.coco import COCO_KEYPOINTS, CocoResults
from epcore.pose.formats.csv_rows import LongCsv, WideCsv
from epcore.pose.formats.json_rows import JsonArray, JsonLines
from epcore.pose.formats.openpose import OpenPoseFiles
from epcore.pose.formats.trc import ANKLE_HEIGHT, TrcFile
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import KEYPOINTS

WIDTH, HEIGHT = 400, 300
STANDING = {  # facing the viewer, arms hanging, pixels
    "head_top": (200, 20), "upper_neck": (200, 50), "thorax": (200, 60), "pelvis": (200, 140), "right_shoulder": (180, 60),
    "left_shoulder": (220, 60), "right_elbow": (180, 100), "left_elbow": (220, 100), "right_wrist": (180, 140),
    "left_wrist": (260, 100), "right_hip": (180, 140), "left_hip": (220, 140), "right_knee": (180, 200),
    "left_knee": (220, 200), "right_ankle": (180, 260), "left_ankle": (220, 260),
}  # fmt: skip


def pose(shift: float = 0.0, missing: tuple[str, ...] = ()) -> Pose:
    points = []
    for index, name in enumerate(KEYPOINTS):
        x, y = STANDING[name]
        gone = name in missing
        points.append(Keypoint(name, None if gone else float(x + shift), None if gone else y + 0.25, 0.5 + 0.01 * index))
    return Pose(WIDTH, HEIGHT, tuple(points))


def film(count: int = 5, missing: tuple[str, ...] = ()) -> list[Observation]:
    return [Observation("walk.mp4", pose(i, missing if i == 2 else ()), i, i * 0.04) for i in range(count)]


def written(make: Callable[[IO[bytes]], Format], observations: list[Observation]) -> str:
    file = io.BytesIO()
    format_ = make(file)
    for each in observations:
        format_.add(each)
    format_.finish()
    return file.getvalue().decode()


class Folder(dict[str, bytes]):
    def write(self, name: str, data: bytes) -> None:
        assert name not in self
        self[name] = data


def test_coco_evaluates_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pycocotools takes the results for perfect where they are the ground truth, and for none where they are shifted."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    observations = [Observation(f"{number:012}.jpg", pose(number)) for number in (5, 17)]
    truth = []
    for number in (5, 17):
        places = [STANDING.get(name, (0, 0)) for name in COCO_KEYPOINTS]
        keypoints = [value for x, y in places for value in ((x + number - 0.5, y + 0.25 - 0.5, 2) if x else (0, 0, 0))]
        truth.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 12, "keypoints": keypoints,
            "area": 80 * 240.0, "bbox": [160, 20, 100, 240],
        })  # fmt: skip
    images = [{"id": number, "width": WIDTH, "height": HEIGHT} for number in (5, 17)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS), "skeleton": []}
    (tmp_path / "truth.json").write_text(
        json.dumps({"info": {}, "images": images, "annotations": truth, "categories": [category]})
    )
    truths = COCO(str(tmp_path / "truth.json"))

    def precision(shift: float) -> float:
        moved = [Observation(each.source, pose(int(Path(each.source).stem) + shift)) for each in observations]
        (tmp_path / "results.json").write_text(written(CocoResults, moved))
        evaluation = COCOeval(truths, truths.loadRes(str(tmp_path / "results.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return float(evaluation.stats[0])

    assert precision(0) == pytest.approx(1)
    assert precision(60) == 0
    capsys.readouterr()


def test_coco_numbers() -> None:
    results = json.loads(
        written(CocoResults, [Observation("a.jpg", pose()), Observation("b.jpg", pose(missing=("left_knee",)))])
    )
    assert [each["image_id"] for each in results] == [1, 2]
    assert results[1]["keypoints"][3 * 13 : 3 * 14] == [0, 0, 0]
    assert results[0]["keypoints"][3 * 13 : 3 * 14] == [219.5, 199.75, round(0.5 + 0.01 * KEYPOINTS.index("left_knee"), 4)]
    assert results[0]["keypoints"][:15] == [0] * 15  # the face
    assert [each["image_id"] for each in json.loads(written(CocoResults, film(2)))] == [0, 1]
    assert json.loads(written(CocoResults, [])) == []


def test_openpose_read_as_its_readers_do() -> None:
    folder = Folder()
    files = OpenPoseFiles(folder)
    for each in film(2):
        files.add(each)
    for person in ("3", "x"):
        files.add(Observation("p.jpg", pose(missing=("pelvis",)), person=person))
    files.add(Observation("other/p.jpg", pose()))
    files.finish()
    assert list(folder) == [
        "walk_000000000000_keypoints.json", "walk_000000000001_keypoints.json", "p_keypoints.json", "p_2_keypoints.json",
    ]  # fmt: skip
    people = json.loads(folder["p_keypoints.json"])["people"]
    assert [person["person_id"] for person in people] == [[3], [-1]]
    numbers = people[0]["pose_keypoints_2d"]
    assert len(numbers) == 75
    x, y, score = numbers[::3], numbers[1::3], numbers[2::3]  # as Pose2Sim reads them
    body_25 = {"Neck": (1, "thorax"), "RWrist": (4, "right_wrist"), "LElbow": (6, "left_elbow"), "RKnee": (10, "right_knee"),
               "LAnkle": (14, "left_ankle")}  # fmt: skip
    for at, name in body_25.values():
        assert (x[at] + 0.5, y[at] + 0.25) == STANDING[name]
        assert score[at] == pytest.approx(0.5 + 0.01 * KEYPOINTS.index(name), abs=5e-5)
    assert (x[8], y[8], score[8]) == (0, 0, 0)  # the middle of the hips, missing
    assert x[0] == 0 and not any(x[15:])


def test_trc_by_another_reader(tmp_path: Path) -> None:
    trc = pytest.importorskip("trc")
    tall = 1.8
    path = tmp_path / "walk.trc"
    path.write_text(written(lambda file: TrcFile(file, "walk.trc", tall), film(missing=("left_wrist",))))
    read = trc.TRCData()
    read.load(str(path))
    assert (read["Units"], read["NumFrames"], read["NumMarkers"], read["DataRate"]) == ("m", 5, 16, 25.0)
    assert read["Markers"] == list(KEYPOINTS)
    assert read["Frame#"] == [1, 2, 3, 4, 5]
    assert np.allclose(read["Time"], np.arange(5) * 0.04, atol=1e-6)
    metres = tall / ((260 - 20) / (1 - ANKLE_HEIGHT))  # the standing figure is 240 pixels from head top to ankle
    for name, (x, y) in STANDING.items():
        for frame in range(5):
            if (name, frame) == ("left_wrist", 2):
                assert np.isnan(read[name][frame]).all()
            else:
                expected = ((x + frame) * metres, (HEIGHT - y - 0.25) * metres, 0)
                assert np.allclose(read[name][frame], expected, atol=1e-5), (name, frame)


def test_trc_that_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="no frame shows the person from head to ankle"):
        written(lambda file: TrcFile(file, "a.trc", 1.8), [Observation("a.mp4", pose(missing=("right_knee",)), 0, 0.0)])
    with pytest.raises(ValueError, match=r"a\.jpg is a picture"):
        written(lambda file: TrcFile(file, "a.trc", 1.8), [Observation("a.jpg", pose())])


def test_tables() -> None:
    observations = film(3, missing=("right_wrist",))
    long = list(csv.DictReader(io.StringIO(written(LongCsv, observations))))
    wide = list(csv.DictReader(io.StringIO(written(WideCsv, observations))))
    assert len(long) == 3 * len(KEYPOINTS) and len(wide) == 3
    assert list(long[0]) == ["frame", "time", "width", "height", "keypoint", "x", "y", "score"]
    for row in long:
        one = wide[int(row["frame"])]
        assert one["time"] == row["time"]
        assert [one[f"{row['keypoint']}_{what}"] for what in ("x", "y", "score")] == [row["x"], row["y"], row["score"]]
    assert (wide[2]["right_wrist_x"], wide[1]["right_wrist_x"], wide[1]["time"]) == ("", "181.0", "0.04")
    people = [Observation("a.jpg", pose(), person="7")]
    assert written(LongCsv, people).splitlines()[1].startswith("a.jpg,7,400,300,head_top,200.0,20.25,")


def test_json_lines_and_array_say_the_same() -> None:
    observations = film(3)
    lines = [json.loads(line) for line in written(JsonLines, observations).splitlines()]
    assert lines == json.loads(written(JsonArray, observations))
    assert [(row["frame"], row["time"]) for row in lines] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert lines[1]["keypoints"] == observations[1].pose.to_json()["keypoints"]


def test_angles_of_a_figure_that_is_known() -> None:
    angles = joint_angles(pose())
    assert tuple(angles) == ANGLES
    expected = {"right_elbow": 180, "left_elbow": 90, "right_knee": 180, "left_knee": 180, "right_hip": 180, "left_hip": 180,
                "right_shoulder": 0, "left_shoulder": 0, "neck": 0, "trunk": 0}  # fmt: skip
    assert angles == pytest.approx(expected, abs=1e-9)
    table = list(csv.DictReader(io.StringIO(written(AngleTable, film(3, missing=("right_wrist",))))))
    assert (table[1]["right_elbow"], table[2]["right_elbow"], table[2]["left_elbow"]) == ("180.0", "", "90.0")


@pytest.mark.parametrize("degrees", [30.0, 75.0, 140.0])
def test_angles_do_not_depend_on_where_the_figure_looks(degrees: float) -> None:
    """A knee bent by so much, the figure turned in the picture; only the trunk leans with it."""
    bent, turn = np.radians(180 - degrees), np.radians(20)
    places = {name: np.array(place, float) for name, place in STANDING.items()}
    places["right_ankle"] = places["right_knee"] + 60 * np.array([np.sin(bent), np.cos(bent)])
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = tuple(Keypoint(name, *(matrix @ places[name]).tolist(), 0.5) for name in KEYPOINTS)
    angles = joint_angles(Pose(WIDTH, HEIGHT, points))
    assert angles["right_knee"] == pytest.approx(degrees)
    assert angles["left_knee"] == pytest.approx(180, abs=1e-5)
    assert angles["trunk"] == pytest.approx(20)
