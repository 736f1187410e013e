"""The walk over a graph and the passes from a graph to a simpler one, against scans of all nodes and against the network."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tolerances import outputs_and_bounds

from epcore.graph import INPUT, Graph, GraphBuilder, Node
from epcore.graph.passes import at_inference, fold_batch_norms, split_steps
from epcore.graph.schedule import finished_values, last_uses, needed, schedule, walk
from epcore.models import EfficientPose
from epcore.network import Network
from epcore.ops import OPS


def random_nodes(rng: np.random.Generator, count: int = 40) -> list[Node]:
    """Sums of one to three earlier values; some are read by nobody."""
    names = [INPUT, *(f"n{i}" for i in range(count))]
    return [
        Node(names[i + 1], "add", tuple(str(name) for name in rng.choice(names[: i + 1], rng.integers(1, 4))))
        for i in range(count)
    ]


class TestSchedule:
    def test_as_a_scan_of_what_follows(self, rng: np.random.Generator) -> None:
        nodes = random_nodes(rng)
        there = {INPUT}
        for index, (node, finished) in enumerate(schedule(nodes)):
            assert node is nodes[index]
            there.add(node.name)
            read_later = {name for later in nodes[index + 1 :] for name in later.inputs}
            assert sorted(finished) == sorted(there - read_later)
            there &= read_later
        assert not there

    def test_steps_that_are_no_nodes(self) -> None:
        steps = [("a", [INPUT]), ("b", ["a", "a"]), ("unread", [INPUT]), ("c", ["a", "b"])]
        assert last_uses(steps) == {"a": 3, INPUT: 2, "b": 3, "unread": 2, "c": 3}
        assert list(map(sorted, finished_values(steps))) == [[], [], [INPUT, "unread"], ["a", "b", "c"]]

    def test_needed_as_recursion(self, rng: np.random.Generator) -> None:
        nodes = random_nodes(rng)
        by_name = {node.name: node for node in nodes}

        def reach(name: str) -> set[str]:
            if name in (INPUT, "n5", "n11"):
                return set()
            return {name}.union(*map(reach, by_name[name].inputs))

        found = needed(nodes, ["n37", "n20"], known=["n5", "n11"])
        assert [node.name for node in found] == [node.name for node in nodes if node.name in reach("n37") | reach("n20")]


class TestWalk:
    def test_values_and_what_is_left(self, rng: np.random.Generator) -> None:
        """Every value a set of all the names before it."""
        nodes = random_nodes(rng)
        seen: dict[str, set[str]] = {INPUT: {INPUT}}
        for node in nodes:
            seen[node.name] = {node.name}.union(*(seen[name] for name in node.inputs))
        start = {INPUT: {INPUT}, "beside": set[str]()}
        left = walk(schedule(nodes), start, lambda node, inputs: {node.name}.union(*inputs), keep=["n3", "n39"])
        assert left == {"beside": set(), "n3": seen["n3"], "n39": seen["n39"]}
        assert start.keys() == {INPUT, "beside"}

    def test_a_value_dies_before_the_next_node_runs(self) -> None:
        class Value:
            pass

        alive: list[weakref.ref[Value]] = []
        counts: list[int] = []

        def visit(node: Node, inputs: list[Any]) -> Value:
            counts.append(sum(ref() is not None for ref in alive))
            value = Value()
            alive.append(weakref.ref(value))
            return value

        chain = [Node(f"n{i}", "add", (f"n{i - 1}" if i else INPUT,)) for i in range(6)]
        walk(schedule(chain), {INPUT: Value()}, visit)
        assert counts == [0, 1, 1, 1, 1, 1]


def residual_graph() -> Graph:
    """Two residual blocks, the second in a part called frozen; the first drop-connect's output is an output too."""
    builder = GraphBuilder((4, 4, 3))
    x = builder.batch_norm("bn", builder.conv2d("conv", INPUT, 3))
    first = builder.drop_connect("drop", builder.batch_norm("a.bn", builder.conv2d("a.conv", x, 3)), rate=0.5)
    x = builder.add("a.add", first, x)
    branch = builder.drop_connect("frozen.drop", builder.conv2d("frozen.conv", x, 3, bias=True), rate=0.5)
    return builder.graph({"y": builder.add("frozen.add", branch, x), "branch": first})


class TestAtInference:
    def test_every_reader_and_output_reads_the_input(self) -> None:
        graph = at_inference(residual_graph())
        assert [name for name in residual_graph().nodes if name not in graph.nodes] == ["drop", "frozen.drop"]
        assert graph.nodes["a.add"].inputs == ("a.bn", "bn")
        assert graph.nodes["frozen.add"].inputs == ("frozen.conv", "a.add")
        assert graph.outputs == {"y": "frozen.add", "branch": "a.bn"}

    def test_frozen_parts_only(self) -> None:
        graph = at_inference(residual_graph(), ("frozen", "other"))
        assert [name for name in residual_graph().nodes if name not in graph.nodes] == ["frozen.drop"]
        assert graph.outputs["branch"] == "drop"
        assert at_inference(residual_graph(), ()) == residual_graph()

    def test_same_maps(self, rng: np.random.Generator) -> None:
        network = Network(residual_graph(), "residual")
        other = Network(at_inference(network.graph), "residual")
        x = rng.standard_normal((1, 4, 4, 3)).astype(np.float32)
        expected, found = network.run(x), other.run(x)
        assert all(np.array_equal(expected[label], found[label]) for label in ("y", "branch"))


def evaluated(graph: Graph, parameters: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """With the reference operators; a depthwise convolution may have a bias."""

    def visit(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
        arrays = [*inputs, *(None if name is None else parameters[name] for name in node.parameters)]
        bias = arrays.pop() if node.op == "depthwise_conv2d" and len(arrays) == 3 else np.float64(0)
        y: np.ndarray = OPS[node.op].forward(*arrays, **node.attributes)[0]
        return y + bias

    values = walk(schedule(graph.nodes.values()), {INPUT: x}, visit, keep=graph.outputs.values())
    return {label: values[name] for label, name in graph.outputs.items()}


class TestFoldBatchNorms:
    def test_same_maps_in_double(self, rng: np.random.Generator) -> None:
        """All three kinds of convolutions, squeeze-and-excitation split as well."""
        model = EfficientPose("RT").astype(np.float64)
        for name, array in model.parameters.items():
            if name.endswith(("gamma", "moving_variance")):
                model.parameters[name] = rng.uniform(0.5, 1.5, array.shape)
            elif name.endswith(("beta", "moving_mean", "bias")):
                model.parameters[name] = rng.normal(0, 0.3, array.shape)
        x = rng.standard_normal((1, 32, 32, 3))
        graph, parameters = fold_batch_norms(at_inference(model.graph), model.parameters)
        graph = split_steps(graph)
        assert not {"batch_norm", "drop_connect", "squeeze_excite"} & {node.op for node in graph.nodes.values()}
        assert parameters.keys() == graph.parameters.keys()
        assert all(parameters[name].shape == graph.parameters[name].shape for name in parameters)
        single = EfficientPose("RT")
        single.parameters = {name: array.astype(np.float32) for name, array in model.parameters.items()}
        _, bounds = outputs_and_bounds(single, x.astype(np.float32))
        ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps  # the same roundings, in double
        found = evaluated(graph, parameters, x)
        for label, maps in model.run(x).items():
            np.testing.assert_allclose(found[label], maps, rtol=0, atol=2 * ratio * bounds[label])  # both round

    def test_what_others_need_stays(self) -> None:
        """A convolution that is an output, or read twice, keeps its batch norm; so does what is no convolution."""
        builder = GraphBuilder((4, 4, 3))
        shown = builder.conv2d("shown", INPUT, 3)
        twice = builder.conv2d("twice", builder.batch_norm("shown.bn", shown), 3)
        total = builder.add("sum", builder.batch_norm("twice.bn", twice), twice)
        graph = builder.graph({"y": builder.batch_norm("sum.bn", total), "shown": shown})
        network = Network(graph, "kept")
        folded, parameters = fold_batch_norms(graph, network.parameters)
        assert folded == graph
        assert all(parameters[name] is network.parameters[name] for name in graph.parameters)

    def test_a_kernel_that_two_convolutions_share(self, rng: np.random.Generator) -> None:
        """Small whole numbers and powers of two, so that both ways are exact."""
        builder = GraphBuilder((4, 4, 3))
        first = builder.batch_norm("a.bn", builder.conv2d("a", INPUT, 3))
        graph = builder.graph({"y": builder.batch_norm("b.bn", builder.conv2d("b", first, 3))})
        nodes = {name: replace(node, attributes={**node.attributes, "epsilon": 0.0}) for name, node in graph.nodes.items()}
        nodes["a"], nodes["b"] = graph.nodes["a"], replace(graph.nodes["b"], parameters=graph.nodes["a"].parameters)
        graph = replace(graph, nodes=nodes)
        parameters: dict[str, np.ndarray] = {}
        for name, spec in graph.parameters.items():
            choices = {"gamma": [1.0, 2, 4], "moving_variance": [1.0, 4, 16]}.get(name.split("/")[1], [-2.0, -1, 0, 1, 2])
            parameters[name] = rng.choice(choices, spec.shape)
        x = rng.integers(-3, 4, (1, 4, 4, 3)).astype(np.float64)
        folded = evaluated(*fold_batch_norms(graph, parameters), x)
        assert np.array_equal(folded["y"], evaluated(graph, parameters, x)["y"])


def test_squeeze_excite_in_steps() -> None:
    builder = GraphBuilder((4, 4, 8))
    graph = builder.graph({"y": builder.squeeze_excite("se", INPUT, reduced=2, activation="relu")})
    nodes = split_steps(graph).nodes
    assert [(node.name, node.op) for node in nodes.values()] == [
        ("se/mean", "global_mean"), ("se/reduce", "conv2d"), ("se/hidden", "relu"), ("se/expand", "conv2d"),
        ("se/gate", "sigmoid"), ("se", "multiply"),
    ]  # fmt: skip
    assert nodes["se"].inputs == (INPUT, "se/gate")
    assert graph.nodes["se"].parameters == nodes["se/reduce"].parameters + nodes["se/expand"].parameters


@pytest.mark.parametrize("labels", [("pafs",), ("confs2", "upscaled")])
def test_pruned(labels: tuple[str, ...], rng: np.random.Generator) -> None:
    model = EfficientPose("RT")
    graph = model.graph.pruned(*labels)
    assert [name for name in model.graph.nodes if name in graph.nodes] == list(graph.nodes)
    x = rng.standard_normal((1, 32, 32, 3)).astype(np.float32)
    part = Network(graph, "part")
    part.parameters = {name: model.parameters[name] for name in graph.parameters}
    found, whole = part.run(x), model.run(x)
    assert found.keys() == set(labels)
    assert all(np.array_equal(found[label], whole[label]) for label in labels)


def test_a_network_without_parameters_says_so() -> None:
    builder = GraphBuilder((8, 8, 3))
    model = Network(builder.graph({"y": builder.avg_pool("half", INPUT)}), "a pool")
    with pytest.raises(ValueError, match="a pool has no parameters"):
        model(np.zeros((1, 8, 8, 3), np.float32))
