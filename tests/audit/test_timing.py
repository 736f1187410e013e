"""`epcore audit --time`: every step's time lands on its stage, beside all the work and bytes there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import epcore
from epcore.audit.count import count_forward
from epcore.audit.layers import count_layers
from epcore.audit.timing import MOVING, time_stages
from epcore.cli import main
from epcore.inference.cpu_plan import CpuPlan
from epcore.inference.plan import Profile, Timing
from epcore.models.variants import build_network


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step number n takes 2 to the power of n seconds: a sum says of which steps it is."""

    def profile(self: CpuPlan[object], x: object = None, repeats: int = 20) -> Profile:
        return Profile(Timing(step.output, step.operator, 2.0**n, 0, 0) for n, step in enumerate(self.steps))

    monkeypatch.setattr(CpuPlan, "profile", profile)


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("name", ["RT", "RT Lite"])
def test_steps_count_for_their_stage(name: str) -> None:
    model = build_network(name)
    times = {each.stage: each for each in time_stages(model, threads=1)}
    steps = epcore.compile(model, threads=1).steps
    assert sum(each.seconds for each in times.values()) == 2.0 ** len(steps) - 1  # every step once
    for stage, each in times.items():
        own = {n for n in range(len(steps)) if int(each.seconds) >> n & 1}
        for n in own:
            stages = {model.graph.nodes[node].stage for node in steps[n].nodes}
            assert (stage in stages) if stage != MOVING and not steps[n].concatenates else stage == MOVING
    assert sum(each.layers for each in times.values()) == len(model.graph.nodes)
    assert sum(each.flops for each in times.values()) == count_forward(model.graph, "flops")
    layers = count_layers(model.graph)
    assert sum(each.bytes for each in times.values()) == sum(layer.moved_bytes for layer in layers)
    for layer in layers:
        assert layer.intensity == layer.flops / layer.moved_bytes


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--layers", "RT", "--time", "--json", str(tmp_path / "time.json")]) == 0
    text = capsys.readouterr().out
    assert "RT compiled, batch 1" in text
    found = json.loads((tmp_path / "time.json").read_text())
    assert found["rows"]
    assert found["time"]["model"] == "RT"
    stages = {each["stage"]: each for each in found["time"]["stages"]}
    assert all(each["seconds"] > 0 for each in stages.values() if each["layers"])
    assert stages["upscaling"]["layers"] == 3


def test_time_needs_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--time"]) == 2
    assert "name it with --layers" in capsys.readouterr().err
