"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from epcore import threads

# Plans are made for the machine; those of tests are everywhere for the same one, in the processes that tests start as well.
os.environ |= {"EPCORE_CACHES": "48K,1M,16M", "EPCORE_PRICES": "default"}


@pytest.fixture(autouse=True)
def no_number_of_threads_stays() -> Iterator[None]:
    """Whatever a test calls leaves no number of threads chosen behind: EPCORE_THREADS would count no more."""
    before = threads._chosen
    yield
    assert threads._chosen == before


@pytest.fixture(scope="session")
def data_path() -> Callable[[str], Path]:
    """`data_path("golden/EfficientPoseRT.npz")` -> the file under EPCORE_DATA, or a skip that says what is missing."""

    def find(relative: str) -> Path:
        folder = os.environ.get("EPCORE_DATA")
        if not folder:
            pytest.skip("EPCORE_DATA is not set: it names the folder of published models and golden outputs")
        path = Path(folder) / relative
        if not path.exists():
            pytest.skip(f"{relative} is not in EPCORE_DATA ({folder})")
        return path

    return find


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
