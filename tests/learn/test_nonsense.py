"""Functions that return nonsense: every check says what is wrong, in a finding, and none of them stumbles."""

from __future__ import annotations

from pathlib import Path

import pytest
from solved import solved

from epcore.learn.course import Exercise, exercises
from epcore.learn.folder import Folder

NONSENSE = (
    "None", "3", "'right'", "()", "(1, 2)", "[None] * 4", "{}", "{'pafs': 1}", "object()", "np.zeros(0)", "np.array(np.nan)",
    "np.full((1, 4, 3, 5), 1j)", "(np.zeros(3), np.zeros((2, 2)))", "({}, {}, {})", "lambda: 0", "float('inf')",
)  # fmt: skip
FUNCTIONS = {
    "forward": "forward", "backward": "backward", "tape": "Tape", "mbconv": "mbconv", "rt": "rt", "step": "step",
    "memory": "kept", "mend": "layers", "decode": "decode", "pckh": "pckh", "numba": "forward",
}  # fmt: skip
CHOSEN = [
    exercise
    for exercise in exercises()
    if exercise.name in FUNCTIONS or exercise.key in ("forward/conv2d", "forward/concat", "backward/mse", "numba/swish")
]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return solved(tmp_path_factory.mktemp("nonsense"))


@pytest.mark.parametrize("exercise", CHOSEN, ids=lambda each: each.key)
def test_nonsense_is_a_finding(exercise: Exercise, course: Folder) -> None:
    function = FUNCTIONS.get(exercise.name) or FUNCTIONS[exercise.stage]
    place: Path = course.path / exercise.file
    source = place.read_text(encoding="utf-8")
    try:
        for value in NONSENSE:
            place.write_text(f"import numpy as np\n\n\ndef {function}(*arguments, **keywords):\n    return {value}\n")
            verdict = course.check(exercise)
            assert verdict.findings, value
            assert all(finding.message and "Traceback" not in finding.message for finding in verdict.findings)
    finally:
        place.write_text(source, encoding="utf-8")
