"""What the planner chooses on machines of all sorts, none of them this one, and that no choice changes a bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from tolerances import settle

import epcore
from epcore.inference.choice import Choice
from epcore.inference.compile import program
from epcore.inference.costs import RINGS, Costs
from epcore.inference.cpu_plan import CpuPlan
from epcore.inference.encode import Program
from epcore.inference.machine import Machine
from epcore.inference.prices import STRIP_KINDS, Prices, strip_name
from epcore.inference.step import Activation
from epcore.inference.steps.band import Band
from epcore.inference.steps.depthwise import STRIPS, Depthwise
from epcore.inference.steps.pointwise import Pointwise
from epcore.kernels.cpu.caches import Caches
from epcore.kernels.cpu.processor import LANES, RING_SPACE
from epcore.models import PoseOutputs

K, M = 1 << 10, 1 << 20
PRICES = Prices(
    multiply=1e-11, activation=2e-10, depthwise={strip_name(*kind): 2e-11 for kind in STRIP_KINDS},
    second=5e-12, third=3e-11, memory=1e-10, task=1e-7, meeting=5e-7,
)  # fmt: skip
USUAL = Machine(Caches(32 * K, 512 * K, 4 * M), PRICES)
MACHINES = {
    "usual": USUAL,
    "small caches": replace(USUAL, caches=Caches(16 * K, 128 * K, 512 * K)),
    "no cache to speak of": Machine(Caches(K, 64 * K, 0), replace(PRICES, third=1e-8, memory=1e-8)),
    "large caches": replace(USUAL, caches=Caches(64 * M, 64 * M, 256 * M)),
    "expensive memory": Machine(Caches(32 * K, 512 * K, M), replace(PRICES, third=1e-9, memory=1e-8)),
    "expensive tasks": replace(USUAL, prices=replace(PRICES, task=1e-4)),
    "expensive meetings": replace(USUAL, prices=replace(PRICES, meeting=1e-3)),
}


@cache
def planned(name: str, threads: int, resolution: int = 256) -> Program:
    model = epcore.EfficientPose("I")
    return program(model, 1, (resolution, resolution), threads, MACHINES[name])


def banded(made: Program) -> list[Choice]:
    return [row.choice for row in made.steps if isinstance(row.step, Band)]


def chunks(made: Program) -> list[int]:
    return [row.choice.chunk for row in made.steps if row.choice.chunk]


def products(made: Program) -> Iterator[dict[str, Any]]:
    return (row.fields["product"] for row in made.steps if "product" in row.fields)


class TestChoices:
    def test_maps_that_stay_in_the_first_cache_are_written(self) -> None:
        model, free = epcore.EfficientPose("I"), replace(PRICES, task=1e-13)
        large, usual = (
            program(model, 1, (256, 256), 1, replace(MACHINES[name], prices=free)) for name in ("large caches", "usual")
        )
        assert not banded(large)
        assert len(banded(usual)) > 10

    def test_nothing_is_asked_for_that_is_there(self) -> None:
        assert not any(product["ahead"] for product in products(planned("large caches", 1)))
        assert all(product["ahead"] for product in products(planned("no cache to speak of", 1)))
        usual, small = (sum(product["ahead"] for product in products(planned(name, 1))) for name in ("usual", "small caches"))
        assert 0 < usual < small

    def test_smaller_caches_smaller_groups(self) -> None:
        """Of the bands that both machines have."""
        usual, small = (
            {row.step.output: choice.group for choice, row in _bands(planned(name, 1))} for name in ("usual", "small caches")
        )
        shared = usual.keys() & small.keys()
        assert len(shared) > 10
        assert sum(small[name] for name in shared) < sum(usual[name] for name in shared)

    def test_the_more_memory_costs_the_more_a_band_saves(self) -> None:
        """One expansion and one depthwise layer on 128 x 128 pixels: the same caches, whose bytes cost more or less."""
        expand, depthwise, shapes = _pair(128, 24, 144)
        saved = []
        for price in (PRICES.second, PRICES.third, 1e-9):
            costs = Costs(replace(USUAL, prices=replace(PRICES, third=price, memory=price, task=1e-13)), 1)
            best = costs.cut(expand, depthwise, shapes)
            assert best is not None
            saved.append(1 - best[1] / (costs.pointwise(expand, shapes)[1] + costs.depthwise(depthwise, shapes)[1]))
        assert saved[0] < 0.02 < 0.1 < saved[1] < 0.5 < saved[2]

    def test_expensive_tasks_are_few(self) -> None:
        usual, expensive = planned("usual", 2, 80), planned("expensive tasks", 2, 80)
        assert sum(row.fields["tasks"] for row in expensive.steps) < sum(row.fields["tasks"] for row in usual.steps)
        assert sum(chunks(expensive)) > sum(chunks(usual))

    def test_where_threads_meet_at_a_price_they_meet_less(self) -> None:
        assert len(planned("expensive meetings", 2).steps) < len(planned("usual", 16).steps)
        usual, expensive = (sum(row.seconds for row in planned(name, 2).steps) for name in ("usual", "expensive meetings"))
        assert expensive > usual + 1e-3 * len(planned("expensive meetings", 2).steps) * 0.9

    def test_many_threads_get_work(self) -> None:
        """Tasks enough for all, where there are pixels enough, and less time with more of them."""
        for made in (planned("usual", 16), planned("small caches", 16)):
            tasks = [row.fields["tasks"] for row in made.steps if isinstance(row.step, Pointwise | Depthwise | Band)]
            assert min(tasks) >= 16
        seconds = [sum(row.seconds for row in planned("usual", threads).steps) for threads in (1, 2, 16)]
        assert seconds[0] > 1.7 * seconds[1] > 3 * seconds[2]

    @pytest.mark.parametrize(("width", "prices", "strip"), [
        (28, (1.0, 1.0, 1.0), 7), (40, (1.0, 1.0, 1.0), 10), (56, (1.0, 1.0, 1.0), 8),
        (28, (0.9, 1.0, 1.05), 10), (40, (1.1, 1.0, 1.0), 8), (56, (1.0, 1.1, 1.0), 7),
    ])  # fmt: skip
    def test_the_strip_that_is_through_first(self, width: int, prices: tuple[float, ...], strip: int) -> None:
        by_strip = {strip_name(5, 1, each): 2e-11 * price for each, price in zip(STRIPS, prices, strict=True)}
        machine = replace(USUAL, prices=replace(PRICES, depthwise=PRICES.depthwise | by_strip))
        _, depthwise, shapes = _pair(width, 48, 96, size=5)
        assert Costs(machine, 1).depthwise(depthwise, shapes)[0] == Choice(strip=strip)

    def test_rings_take_no_more_memory_than_a_thread_may(self) -> None:
        for name in MACHINES:
            for _, row in _bands(planned(name, 1)):
                cut, width = row.step.cut, row.fields["depthwise"]["width"]
                assert 4 * (cut.ring + RING_SPACE) * width * row.fields["pixel"] <= RINGS

    def test_the_same_machine_the_same_plan(self) -> None:
        model = epcore.EfficientPose("I")
        first, second = (program(model, 1, (80, 80), 2, MACHINES["small caches"]) for _ in range(2))
        assert [(row.choice, row.seconds) for row in first.steps] == [(row.choice, row.seconds) for row in second.steps]


class TestPrices:
    def test_of_a_byte(self) -> None:
        """A quarter of a cache stays, all of it does not; nothing costs less for being larger."""
        costs = Costs(USUAL, 1)
        assert costs.byte(8 * K) == 0
        assert costs.byte(32 * K) == costs.byte(128 * K) == PRICES.second
        assert costs.byte(512 * K) == costs.byte(M) == pytest.approx(PRICES.third)
        assert costs.byte(4 * M) == costs.byte(1 << 40) == pytest.approx(PRICES.memory)
        sizes = [costs.byte(size) for size in range(0, 5 * M, 4 * K)]
        assert sizes == sorted(sizes)
        assert Costs(replace(USUAL, caches=Caches(32 * K, 512 * K, 0)), 1).byte(M) == pytest.approx(PRICES.memory)

    def test_of_a_layer_by_hand(self) -> None:
        """All in the first cache: nothing but multiply-adds, activated numbers and tasks."""
        expand, depthwise, shapes = _pair(16, 2 * LANES, 3 * LANES)
        costs = Costs(MACHINES["large caches"], 1)
        choice, seconds = costs.pointwise(expand, shapes)
        assert choice == Choice(chunk=256)
        assert seconds == pytest.approx(256 * 3 * LANES * (2 * LANES * 1e-11 + 2e-10) + 1e-7)
        choice, seconds = costs.depthwise(depthwise, shapes)
        assert choice == Choice(strip=STRIPS[1])
        assert seconds == pytest.approx(256 * 3 * LANES * (9 * 2e-11 + 2e-10) + 16 * 1e-7)


def test_no_choice_changes_a_bit(rng: np.random.Generator) -> None:
    """Machines of all sorts, any threads: whole layers, bands of rows, groups of channels, every strip and chunk."""
    model = settle(epcore.EfficientPose("I"))
    side, seen, first = 88, set(), None
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    strips = [replace(PRICES, depthwise=PRICES.depthwise | {strip_name(5, 1, strip): 1e-13}) for strip in STRIPS]
    for machine in [*MACHINES.values(), *(replace(USUAL, prices=prices) for prices in strips)]:
        for threads in (1, 2, 3):
            made = program(model, 2, (side, side), threads, machine)
            outputs = CpuPlan[PoseOutputs](model, made, 2, (side, side), threads)(x)
            maps = [array for array in outputs.by_label().values() if array is not None]
            first = first or maps
            assert all(np.array_equal(a, b) for a, b in zip(maps, first, strict=True))
            seen |= {row.choice for row in made.steps}
    assert {choice.strip for choice in seen} >= set(STRIPS)
    assert len({choice.chunk for choice in seen}) > 4
    assert len({choice.rows for choice in seen}) > 4
    assert len({choice.group for choice in seen}) > 4
    assert (
        {choice.ahead for choice in seen if choice.chunk} == {choice.ahead for choice in seen if choice.rows} == {True, False}
    )


def _bands(made: Program) -> list[tuple[Choice, Any]]:
    return [(row.choice, row) for row in made.steps if isinstance(row.step, Band)]


def _pair(side: int, channels: int, wide: int, size: int = 3) -> tuple[Pointwise, Depthwise, dict[str, tuple[int, ...]]]:
    """An expansion and the depthwise layer that reads it."""
    swish = Activation("swish")
    expand = Pointwise(
        inputs=("x",), output="wide", weights=np.zeros((channels, wide)), bias=np.zeros(wide), activation=swish
    )  # fmt: skip
    depthwise = Depthwise(
        inputs=("wide",), output="y", weights=np.zeros((size, size, wide)), bias=np.zeros(wide), activation=swish
    )  # fmt: skip
    shape = (1, side, side)
    return expand, depthwise, {"x": (*shape, channels), "wide": (*shape, wide), "y": (*shape, wide)}
