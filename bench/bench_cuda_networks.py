"""Whole networks on a GPU: inference as one CUDA graph, a training step, beside PyTorch doing the same.

pytest bench/bench_cuda_networks.py -m gpu     (PyTorch: channels-last in a CUDA graph, and torch.compile)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from cuda_timing import Call, cupy_or_skip, fill_book, time_calls, torch_or_none

import epcore
from epcore.graph import INPUT
from epcore.inference.cuda_graph import CudaGraphPlan
from epcore.kernels.cuda.sgd import SgdMomentum
from epcore.network import Network
from epcore.ops import OPS
from epcore.tape import Tape

pytestmark = pytest.mark.gpu
INFERENCE = [(variant, batch) for variant in ("RT", "I", "II", "III", "IV") for batch in (1, 16, 64)]
TRAINING = [("RT", 20), ("I", 20), ("II", 20), ("III", 10), ("IV", 5)]  # the paper's batches
RATE, MOMENTUM = 1e-6, 0.9


@pytest.fixture(scope="module")
def gpu(pytestconfig: pytest.Config) -> Iterator[Book]:
    yield from fill_book(pytestconfig)


@pytest.mark.parametrize(("variant", "batch"), INFERENCE)
def bench_inference(variant: str, batch: int, gpu: Book) -> None:
    cupy = cupy_or_skip()
    model = epcore.EfficientPose(variant).to("cuda")
    flops = 2 * sum(cost.macs for cost in model.graph.costs(batch).values())
    x = cupy.random.default_rng(0).standard_normal((batch, model.resolution, model.resolution, 3), dtype=np.float32)
    free, _ = cupy.cuda.runtime.memGetInfo()
    try:
        plan = CudaGraphPlan(model, batch)
    except (cupy.cuda.memory.OutOfMemoryError, ValueError) as error:
        pytest.skip(f"{free / 2**30:.0f} GiB of memory are free: {error}")
    contenders: dict[str, Call] = {"epcore": lambda: plan(x)}
    expected = plan(x).final.get()
    if torch_or_none() is not None:
        for name, call in torch_inference(model, x).items():
            call()
            maps = call.output.permute(0, 2, 3, 1).cpu().numpy()
            assert np.abs(maps - expected).max() <= 1e-4 * np.abs(expected).max(), name
            contenders[name] = call
    add_rows(gpu, "CUDA inference", f"{variant}, batch {batch}", contenders, flops, batch)


def torch_inference(model: Network, x: Any) -> dict[str, Replay]:
    """PyTorch on the same weights and input, captured in a graph: as it is, and compiled."""
    torch = torch_or_none()
    module = TorchNetwork(model, torch)
    a = torch.from_dlpack(x).permute(0, 3, 1, 2)
    label = next(label for label in ("upscaled", "confs3", "confs2") if label in model.graph.outputs)

    def eager() -> Any:
        with torch.inference_mode():
            return module(a)[label]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = eager()
    compiled = torch.compile(module.__call__, mode="max-autotune-no-cudagraphs")

    def fused() -> Any:
        with torch.inference_mode():
            return compiled(a)[label]

    fused()
    second = torch.cuda.CUDAGraph()
    with torch.cuda.graph(second):
        compiled_output = fused()
    return {"PyTorch graph": Replay(graph, captured), "torch.compile graph": Replay(second, compiled_output)}


class Replay:
    """Launches a captured graph, which fills `output` (N,J,R,R)."""

    def __init__(self, graph: Any, output: Any) -> None:
        self.graph, self.output = graph, output

    def __call__(self) -> None:
        self.graph.replay()


@pytest.mark.parametrize(("variant", "batch"), TRAINING)
def bench_training_step(variant: str, batch: int, gpu: Book) -> None:
    cupy = cupy_or_skip()
    model = epcore.EfficientPose(variant).to("cuda")
    model.train().freeze("upscale")
    shapes = model.graph.shapes(batch)
    rng = cupy.random.default_rng(0)
    x = rng.standard_normal(shapes[INPUT], dtype=np.float32)
    targets = {label: rng.random(shapes[model.graph.outputs[label]], np.float32) for label in ("pafs", "confs2", "upscaled")}
    names = model.trainable()
    optimizer = SgdMomentum(
        [model.parameters[name] for name in names], [cupy.zeros_like(model.parameters[name]) for name in names]
    )
    theirs = None
    if torch_or_none() is not None:
        theirs = torch_training(model, x, targets)

    def step() -> None:
        tape = Tape()
        outputs, watched = model.record(x, tape)
        losses = [tape.apply("mse", outputs[label], target) for label, target in targets.items()]
        tape.backward(reduce(lambda a, b: tape.apply("add", a, b), losses))
        optimizer.step([tape.gradient(watched[name]) for name in names], rate=RATE, momentum=MOMENTUM)

    contenders: dict[str, Call] = {"epcore": step} | ({"PyTorch": theirs} if theirs else {})
    flops = 2 * sum(cost.macs + cost.backward_macs for cost in model.graph.costs(batch).values())
    add_rows(gpu, "CUDA training step", f"{variant}, batch {batch}", contenders, flops, batch)


def torch_training(model: Network, x: Any, targets: dict[str, Any]) -> Call:
    """The same step by PyTorch, channels-last, with its fused optimiser."""
    torch = torch_or_none()
    module = TorchNetwork(model, torch)
    trained = [module.arrays[name].requires_grad_() for name in model.trainable()]
    optimiser = torch.optim.SGD(trained, RATE, momentum=MOMENTUM, fused=True)
    a = torch.from_dlpack(x).permute(0, 3, 1, 2)
    wanted = {label: torch.from_dlpack(target).permute(0, 3, 1, 2) for label, target in targets.items()}

    def step() -> None:
        outputs = module(a)
        optimiser.zero_grad()
        sum(torch.nn.functional.mse_loss(outputs[label], target) for label, target in wanted.items()).backward()
        optimiser.step()

    return step


class TorchNetwork:
    """The same graph in PyTorch on the GPU, from `torch_twin.visit`; batch norm and drop-connect by the model's mode."""

    def __init__(self, model: Network, torch: Any) -> None:
        from torch_twin import to_torch, visit

        self.visit, self.torch, self.model = visit, torch, model
        self.arrays = {name: to_torch(array.get()).cuda() for name, array in model.parameters.items()}

    def __call__(self, x: Any) -> dict[str, Any]:
        values = {INPUT: x}
        for node in self.model.graph.nodes.values():
            inputs = [values[name] for name in node.inputs]
            if OPS[node.op].identity_at_inference:
                values[node.name] = self._drop(inputs[0], node.attributes["rate"])
            else:
                parameters = [None if name is None else self.arrays[name] for name in node.parameters]
                fixed = not self.model.training or self.model.is_frozen(node.name)
                values[node.name] = self.visit(node, inputs, parameters, fixed)
        return {label: values[name] for label, name in self.model.graph.outputs.items()}

    def _drop(self, x: Any, rate: float) -> Any:
        if not self.model.training:
            return x
        return x * (self.torch.bernoulli(x.new_full((x.shape[0], 1, 1, 1), 1 - rate)) / (1 - rate))


def add_rows(book: Book, group: str, case: str, contenders: dict[str, Call], flops: int, images: int) -> None:
    samples = time_calls(contenders, rounds=10, calls=5)
    fastest = min((sample.median for name, sample in samples.items() if name != "epcore"), default=None)
    for name, sample in samples.items():
        ratio = sample.median / fastest if name == "epcore" and fastest else None
        book.add(Row(group, case, name, sample.median * 1e3, sample.spread, flops, images=images, ratio=ratio))
