"""What every network costs: work by convention, a training step, memory. Data for the text and the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from epcore.audit.conventions import CONVENTIONS
from epcore.audit.count import count_forward, count_parameters, count_training, trainable_parameters
from epcore.audit.memory import FLOAT32, inference_peak, parameter_bytes, training_peak
from epcore.audit.tables import ABLATION, ROWS, Row
from epcore.graph import Graph
from epcore.models import EfficientPoseLite
from epcore.models.openpose import build_openpose
from epcore.models.variants import build_network, network_name
from epcore.network import Network

MODELS = tuple(row.model for row in ROWS if row.table != ABLATION)


def find_row(model: str) -> Row:
    """The unablated row of a model, by any spelling of its name. Raises ValueError for one that has none."""
    name = network_name(model, MODELS)
    return next(row for row in ROWS if row.ablation is None and row.model == name)


@dataclass(frozen=True)
class ModelWork:
    """One network as it runs, all heads included, batch 1: forward by convention, backward and a whole step in `flops`."""

    model: str
    resolution: int
    parameters: int
    forward: dict[str, int]
    backward: int
    step: int


def count_work() -> list[ModelWork]:
    """Every model of `MODELS`."""
    rows = []
    for model in MODELS:
        graph = find_row(model).graph()
        training = count_training(graph)
        forward = {name: count_forward(graph, name) for name in CONVENTIONS}
        rows.append(ModelWork(model, graph.input_shape[0], count_parameters(graph), forward, training.backward, training.step))
    return rows


@dataclass(frozen=True)
class ModelMemory:
    """Bytes at batch 1, float32. inference: operator by operator. plan: constants and working memory of `epcore.compile`.

    training: activations and gradients; momentum: what the optimiser keeps besides the parameters.
    """

    model: str
    parameters: int
    inference: int
    plan_constants: int
    plan_working: int
    training: int
    momentum: int


def count_memory(models: Iterable[str] = MODELS) -> list[ModelMemory]:
    """Every model; plan sizes are those of plans compiled here."""
    rows = []
    for model in models:
        graph = find_row(model).graph()
        plan = _plan_bytes(model)
        momentum = FLOAT32 * sum(prod(graph.parameters[name].shape) for name in trainable_parameters(graph, ("upscale",)))
        rows.append(ModelMemory(model, parameter_bytes(graph), inference_peak(graph), *plan, training_peak(graph), momentum))
    return rows


def _plan_bytes(model: str) -> tuple[int, int]:
    from epcore.inference.compile import compile
    from epcore.inference.cpu_plan import CpuPlan

    lite = model.endswith(" Lite")
    network: Network = EfficientPoseLite(model.removesuffix(" Lite"), auxiliary_heads=True) if lite else build_network(model)
    plan = compile(network)
    assert isinstance(plan, CpuPlan)
    return plan.constant_bytes, plan.working_bytes


def openpose_readings() -> list[tuple[str, int, int]]:
    """(choice, parameters, FLOPs in `tf_profiler`) of other readings of the baseline, the one that is built first."""
    graph, wide = build_openpose(), build_openpose(pafs_to_last_pass=True)
    parameters, flops = count_parameters(graph), count_forward(graph)
    slopes = sum(prod(spec.shape) for name, spec in graph.parameters.items() if name.endswith("/alpha"))
    shapes, price = graph.shapes(), CONVENTIONS["tf_profiler"].price
    features = [shapes[name] for name in ("relu4_3", "relu4_4")]

    def work(kind: str) -> int:
        return price(kind) * sum(cost.elementwise.get(kind, 0) for cost in graph.costs().values())

    return [
        ("as built", parameters, flops),
        ("last pass also reads the PAFs", count_parameters(wide), count_forward(wide)),
        ("slopes of PReLU not counted", parameters - slopes, flops),
        ("both of these", count_parameters(wide) - slopes, count_forward(wide)),
        (
            "PReLU after the features as well",
            parameters + sum(shape[3] for shape in features),
            flops + price("prelu") * sum(map(prod, features)),
        ),
        ("work of PReLU not counted", parameters, flops - work("prelu")),
        ("work of max pooling not counted", parameters, flops - work("max_pool")),
    ]


def stage_work(graph: Graph) -> dict[str, tuple[int, int]]:
    """Stage -> (parameters, FLOPs in `tf_profiler`), in order."""
    costs = graph.costs()
    stages: dict[str, tuple[int, int]] = {}
    for node in graph.nodes.values():
        parameters, flops = stages.get(node.stage, (0, 0))
        parameters += sum(prod(graph.parameters[name].shape) for name in node.parameters if name is not None)
        stages[node.stage] = parameters, flops + CONVENTIONS["tf_profiler"].count_forward(costs[node.name])
    return stages
