"""People's annotation files: the same person from each form, which form it is, and what is wrong with a wrong one."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import COCO_NAMES, coco, crowd, ground_truth, hrnet, pictures, write_form, write_mat
from scipy.io import savemat

from epcore.cli import main
from epcore.data.annotations import annotation_files, file_of_split, read_people
from epcore.data.mpii import MPII
from epcore.data.mpii_annotations import Annotations
from epcore.evaluate.pckh import normalized_distances, pckh

FORMS = ("mat", "hrnet", "mmpose", "counted from 0", "coco")
PEOPLE = crowd()


def figures(annotations: Annotations) -> tuple[float, ...]:
    """PCKh of the same guesses, whatever the file."""
    records = annotations.records
    guesses = np.random.default_rng(5).uniform(0, 90, (len(records), 16, 2))
    near = np.stack([np.where(record.annotated[:, None], record.keypoints, 0) for record in records])
    guesses[::2] = near[::2] + np.random.default_rng(6).normal(0, 8, near[::2].shape)
    distances = normalized_distances(
        guesses,
        np.stack([record.keypoints for record in records]),
        np.stack([record.annotated for record in records]),
        np.stack([record.head_box for record in records if record.head_box is not None]),
    )
    return tuple(pckh(distances, tau).total for tau in (0.1, 0.5, 1.0))


@pytest.mark.parametrize("form", FORMS)
def test_the_same_person_from_every_form(form: str, tmp_path: Path) -> None:
    truth = read_people(write_mat(tmp_path, PEOPLE), tmp_path / "images")
    found = read_people(write_form(form, tmp_path / "other", PEOPLE), tmp_path / "images")
    assert [record.name for record in found.records] == ["one.jpg#0", "two.jpg#0", "two.jpg#1", "three.jpg#0"]
    for ours, theirs in zip(found.records, truth.records, strict=True):
        assert (ours.name, ours.image, len(ours.others)) == (theirs.name, theirs.image, len(theirs.others))
        assert np.array_equal(ours.annotated, theirs.annotated)
        # counted from 0, joints went through (x - 1) + 0.5 instead of x - 0.5
        np.testing.assert_allclose(ours.keypoints, theirs.keypoints, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.center, theirs.center, rtol=0, atol=1e-12)
        assert ours.scale == theirs.scale
        assert np.array_equal(ours.head_box, theirs.head_box)  # MATLAB's, whatever the joints are counted from
    assert figures(found) == figures(truth)
    assert 0 < figures(truth)[1] < 100


@pytest.mark.parametrize("form", FORMS)
def test_check_tells_the_form(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_form(form, tmp_path / "data", PEOPLE)
    target = file if form == "coco" else tmp_path / "data"
    assert main(["data", "check", str(target)]) == 0
    text = capsys.readouterr().out
    expected = {"mat": "MPII .mat (original)", "coco": "MPII in COCO's form"}.get(form, "MPII JSON (HRNet, MMPose)")
    assert text.startswith(f"{file}: {expected}")
    assert "4 persons" in text and "4 with a head box" in text
    if form != "mat":
        assert f"coordinates: counted from {0 if form == 'counted from 0' else 1}" in text
    assert main(["data", "check", str(target), "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["form"], report["persons"], report["broken_pictures"]) == (expected, 4, {})


def test_folders_of_hrnet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    valid = write_form("hrnet", tmp_path, PEOPLE)
    annot = valid.parent
    (annot / "train.json").write_text(json.dumps(hrnet(PEOPLE[:3])))
    (annot / "trainval.json").write_text(json.dumps(hrnet(PEOPLE)))
    test = [{key: entry[key] for key in ("image", "center", "scale")} for entry in hrnet(PEOPLE)]
    (annot / "test.json").write_text(json.dumps(test))
    assert [path.name for path in annotation_files(tmp_path)] == ["train.json", "valid.json", "trainval.json", "test.json"]
    assert file_of_split(tmp_path, "train") == (annot / "train.json", True)
    assert len(MPII(tmp_path, "train").records) == 3
    assert len(MPII(tmp_path, "validation", need_head_box=True).records) == 4
    assert len(MPII(annot / "valid.json", "validation").records) == 4
    assert file_of_split(valid, "train") == (annot / "train.json", True)  # never validated on what was trained on
    assert file_of_split(annot / "trainval.json", "train") == (annot / "trainval.json", False)
    assert main(["data", "check", str(tmp_path), "--json", "-"]) == 0
    reports = json.loads(capsys.readouterr().out)["files"]
    assert [report["persons"] for report in reports] == [3, 4, 4, 0]
    assert "no keypoints: a file of the test pictures" in reports[3]["notes"]
    with pytest.raises(ValueError, match=r"train\.json: no head boxes .*PCKh cannot be computed"):
        MPII(tmp_path, "train", need_head_box=True)
    (annot / "gt_valid.mat").unlink()
    with pytest.raises(ValueError, match=r"valid\.json: no head boxes \(expected in gt_valid\.mat beside it\): PCKh cannot"):
        MPII(tmp_path, "validation", need_head_box=True)
    assert len(MPII(tmp_path, "validation").records) == 4  # to train and predict on they will do
    for name in ("valid.json", "trainval.json"):
        (annot / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.json, test\.json, but no valid\.json or mpii_val\.json"):
        MPII(tmp_path, "validation")


def test_split_of_what_is_not_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    valid = write_form("hrnet", tmp_path, PEOPLE)
    outputs = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    whole = valid.rename(valid.parent / "trainval.json")
    assert main(["data", "split", str(whole), *outputs]) == 0
    capsys.readouterr()
    valid.parent.joinpath("train.json").write_text(json.dumps(hrnet(PEOPLE)))
    assert main(["data", "split", str(tmp_path), *outputs]) == 2
    assert "is one side of a split already" in capsys.readouterr().err


class TestCoco:
    @staticmethod
    def read(tmp_path: Path, content: Any, **options: Any) -> Annotations:
        (tmp_path / "coco.json").write_text(json.dumps(content))
        return read_people(tmp_path / "coco.json", tmp_path, **options)

    def test_order_follows_the_names(self, tmp_path: Path) -> None:
        straight, turned = coco(PEOPLE), coco(PEOPLE)
        order = np.random.default_rng(0).permutation(16)
        turned["categories"][0]["keypoints"] = [COCO_NAMES[i] for i in order]
        for annotation in turned["annotations"]:
            annotation["keypoints"] = np.reshape(annotation["keypoints"], (16, 3))[order].ravel().tolist()
        one, other = self.read(tmp_path, straight), self.read(tmp_path, turned)
        nameless = self.read(tmp_path, coco(PEOPLE, categories=[{"id": 1, "keypoints": []}]))
        for records in (other.records, nameless.records):
            for ours, theirs in zip(records, one.records, strict=True):
                np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)

    def test_hidden_points(self, tmp_path: Path) -> None:
        content = coco(PEOPLE)
        told = self.read(tmp_path, content)
        assert all(np.array_equal(record.visible, record.annotated) for record in told.records)
        content["annotations"][0]["keypoints"][2] = 2
        record = self.read(tmp_path, content).records[0]
        assert record.visible.sum() == 1 and record.annotated.sum() == 16

    def test_a_box_instead_of_centre_and_scale(self, tmp_path: Path) -> None:
        content = coco(PEOPLE)
        for annotation in content["annotations"]:
            del annotation["center"], annotation["head_box"]
            annotation["bbox"] = [11, 21, 40, 100]
        del content["annotations"][1]["bbox"]
        found = self.read(tmp_path, content)
        assert found.records[0].center.tolist() == [30.5, 70.5] and found.records[0].scale == 0.5
        assert found.problems == ["two.jpg#0: neither centre and scale nor a box, cannot be cropped"]
        assert len(found.records[1].others) == 1  # who cannot be cropped still stands beside the other
        assert any("no head boxes" in note and "PCKh cannot be computed" in note for note in found.notes)

    def test_counted_from_zero_if_one_says_so(self, tmp_path: Path) -> None:
        one, other = self.read(tmp_path, coco(PEOPLE)), self.read(tmp_path, coco(PEOPLE), first_pixel=0)
        np.testing.assert_allclose(other.records[0].keypoints, one.records[0].keypoints + 1)

    def test_an_image_entry_for_each_person(self, tmp_path: Path) -> None:
        """As a converter writes it that numbers persons and pictures alike."""
        content = coco(PEOPLE)
        content["images"] = [{"id": i, "file_name": person.image} for i, person in enumerate(PEOPLE)]
        for number, annotation in enumerate(content["annotations"]):
            annotation["image_id"] = number
        assert [len(record.others) for record in self.read(tmp_path, content).records] == [0, 1, 1, 0]


def replaced(path: str, value: Any) -> Callable[[Any], Any]:
    """The content with one thing within replaced: "0.joints.3"; `del` removes it."""

    def change(content: Any) -> Any:
        *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        place = content
        for part in above:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        return content

    return change


ODD = [None, True, "text", [], {}, [[]], float("nan"), float("inf"), 10**400, -(10**400)]
LIST_FIELDS = ["image", "center", "scale", "joints", "joints_vis", "joints.2", "joints.2.1", "joints_vis.2", "center.0"]
COCO_FIELDS = [
    "images", "annotations", "images.0", "images.0.id", "images.0.file_name", "annotations.1", "annotations.1.image_id",
    "annotations.1.keypoints", "annotations.1.keypoints.4", "annotations.1.keypoints.5", "annotations.1.center",
    "annotations.1.center.0", "annotations.1.scale", "annotations.1.head_box", "annotations.1.head_box.1",
    "categories", "categories.0", "categories.0.keypoints", "categories.0.keypoints.3",
]  # fmt: skip


class TestWrongFiles:
    @pytest.mark.parametrize("field", [f"1.{field}" for field in LIST_FIELDS] + COCO_FIELDS)
    def test_every_field_wrong_in_every_way(self, field: str, tmp_path: Path) -> None:
        """One ValueError that names the file and where in it, or, where the value is as good as another, records."""
        path = tmp_path / "odd.json"
        entry = field.split(".")[0]
        said = {"1": "entry 1", "images": "images", "annotations": "annotations", "categories": "categor"}[entry]
        refused = 0
        for value in [..., *ODD]:
            content = hrnet(PEOPLE) if entry == "1" else coco(PEOPLE)
            path.write_text(json.dumps(replaced(field, value)(copy.deepcopy(content))))
            try:
                read_people(path, tmp_path)
            except ValueError as error:
                refused += 1
                message = str(error)
                assert message.startswith(str(path)) and "expected" in message and len(message) < 400 + len(str(path))
                assert "\n" not in message
                assert said in message or "the file" in message, message
        assert refused >= 5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "not readable JSON"),
            ("[1, 2", "not readable JSON"),
            ("[" * 100_000, "nests too deeply|not readable JSON"),
            ("1" * 10_000, "not readable JSON"),
            ("3", "holds 3, expected a list of persons"),
            ("[1]", r"holds a list of 1, expected a list of persons"),
            ('{"a": 1}', "holds an object, expected a list of persons"),
            ('[{"image": "a.jpg", "joints": []}, 7]', "entry 1 is 7, expected an object"),
        ],
    )
    def test_no_annotations(self, text: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            read_people(tmp_path / "bad.json", tmp_path)
        assert str(tmp_path / "bad.json") in str(caught.value)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00[")
        with pytest.raises(ValueError, match="not readable JSON"):
            read_people(tmp_path / "bad.json", tmp_path)

    def test_memory_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(text: str) -> None:
            raise MemoryError

        (tmp_path / "bad.json").write_text("[]")
        monkeypatch.setattr("epcore.data.json_fields.json.loads", full)
        with pytest.raises(ValueError, match=r"bad\.json does not fit into memory"):
            read_people(tmp_path / "bad.json", tmp_path)

    def test_too_large(self, tmp_path: Path) -> None:
        with (tmp_path / "large.json").open("wb") as file:
            file.truncate(1 << 30)
        with pytest.raises(ValueError, match=r"large\.json has 1073741824 bytes, expected annotations of at most"):
            read_people(tmp_path / "large.json", tmp_path)

    def test_small_and_yet_too_much(self, tmp_path: Path) -> None:
        """A list takes two bytes in the file and a hundred in memory."""
        (tmp_path / "bad.json").write_text("[" + "[]," * 3_000_000 + "[]]")
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"holds some 6000002 values, expected annotations of at most 5000000"):
            read_people(tmp_path / "bad.json", tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 << 20  # the file's 9 MB, and not the lists

    @pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "a\0b"])
    def test_pictures_elsewhere(self, name: str, tmp_path: Path) -> None:
        for field, content in (("0.image", hrnet(PEOPLE)), ("images.0.file_name", coco(PEOPLE))):
            (tmp_path / "bad.json").write_text(json.dumps(replaced(field, name)(content)))
            with pytest.raises(ValueError, match=r"expected (a file below|the file name)"):
                read_people(tmp_path / "bad.json", tmp_path)

    def test_a_picture_of_everyone(self, tmp_path: Path) -> None:
        """Everyone is told of all others in the picture: the square of their number."""
        (tmp_path / "bad.json").write_text(json.dumps(hrnet(PEOPLE[:1]) * 501))
        with pytest.raises(ValueError, match=r"\"one.jpg\" has 501 persons, expected at most 500"):
            read_people(tmp_path / "bad.json", tmp_path)

    def test_keypoints_of_another_data_set(self, tmp_path: Path) -> None:
        names = ["nose", "left_eye", "right_eye"]
        (tmp_path / "bad.json").write_text(json.dumps(coco(PEOPLE, categories=[{"keypoints": names}])))
        with pytest.raises(ValueError, match='name 3 keypoints, "nose" among them, expected MPII\'s 16: head_top'):
            read_people(tmp_path / "bad.json", tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content.pop("headboxes_src"), "no variable headboxes_src"),
            (lambda content: content.update(pos_gt_src=content["pos_gt_src"][:, :, :3]), "as valid.json has 4 persons"),
            (lambda content: content.update(pos_gt_src=content["pos_gt_src"] + 7), r"does not belong to valid\.json"),
            (lambda content: content.update(pos_gt_src=content["pos_gt_src"][:, :, [0, 1, 3, 2]]), "does not belong"),
            (lambda content: content.update(headboxes_src=np.array(["a"])), "headboxes_src is object"),
        ],
    )
    def test_head_boxes_of_others(self, change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
        valid = write_form("hrnet", tmp_path, PEOPLE)
        content = ground_truth(PEOPLE)
        change(content)
        savemat(valid.parent / "gt_valid.mat", content)
        with pytest.raises(ValueError, match=message):
            read_people(valid, tmp_path)

    def test_damaged_head_boxes(self, tmp_path: Path) -> None:
        valid = write_form("hrnet", tmp_path, PEOPLE)
        boxes = ground_truth(PEOPLE)
        boxes["headboxes_src"][:, :, 0], boxes["headboxes_src"][0, 0, 1] = 5, np.nan
        savemat(valid.parent / "gt_valid.mat", boxes)
        found = read_people(valid, tmp_path)
        assert [record.head_box is None for record in found.records] == [True, True, False, False]
        assert ["zero size" in found.problems[0], "not finite" in found.problems[1]] == [True, True]
        (valid.parent / "gt_valid.mat").write_bytes(b"no .mat at all")
        with pytest.raises(ValueError, match=r"gt_valid\.mat is not a readable \.mat file"):
            read_people(valid, tmp_path)

    def test_one_person_alone(self, tmp_path: Path) -> None:
        """MATLAB drops the last axis."""
        valid = write_form("hrnet", tmp_path, PEOPLE[:1])
        savemat(valid.parent / "gt_valid.mat", {key: value[..., 0] for key, value in ground_truth(PEOPLE[:1]).items()})
        assert read_people(valid, tmp_path).records[0].head_box is not None

    def test_nobody_to_crop(self, tmp_path: Path) -> None:
        pictures(tmp_path, PEOPLE)
        content = hrnet(PEOPLE)
        content[0]["center"], content[1]["scale"] = [-1.0, -1.0], 0
        (tmp_path / "train.json").write_text(json.dumps(content))
        found = read_people(tmp_path / "train.json", tmp_path)
        assert found.problems == [f"{name}: no centre or scale, cannot be cropped" for name in ("one.jpg#0", "two.jpg#0")]

    def test_the_command_says_it_in_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pictures(tmp_path, PEOPLE)
        (tmp_path / "train.json").write_text(json.dumps(replaced("2.scale", "big")(hrnet(PEOPLE))))
        assert main(["data", "check", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error == f'epcore: error: {tmp_path / "train.json"}: entry 2: scale is "big", expected a number\n'

    @pytest.mark.parametrize("first_pixel", [2, -1, "1"])
    def test_where_counting_starts(self, first_pixel: Any, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"first_pixel is .*expected 0 or 1"):
            read_people(tmp_path / "x.json", tmp_path, first_pixel=first_pixel)
