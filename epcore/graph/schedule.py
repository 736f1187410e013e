"""The walk over a graph: which nodes have to run, in what order, and which values nobody needs after each of them.

What needs several values a node (the same layer exact and rounded, say) or other steps than nodes follows the schedule itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epcore.graph.graph import Node

Schedule = list[tuple["Node", list[str]]]  # every node with the values that nobody needs after it


def needed(nodes: Iterable[Node], wanted: Iterable[str], known: Iterable[str] = ()) -> list[Node]:
    """The nodes, in order, that have to run to get the wanted ones; `known` ones and the input are there already."""
    missing, stop = set(wanted), set(known)
    needed_last_first = []
    for node in reversed(list(nodes)):
        if node.name in missing and node.name not in stop:
            needed_last_first.append(node)
            missing.update(node.inputs)
    return needed_last_first[::-1]


def last_uses(steps: Iterable[tuple[str, Iterable[str]]]) -> dict[str, int]:
    """steps: (value given, values taken) in order. Value -> index of the last step that takes it; of the one that gives it
    where none does.
    """
    last: dict[str, int] = {}
    for index, (given, taken) in enumerate(steps):
        last[given] = index
        last.update(dict.fromkeys(taken, index))
    return last


def finished_values(steps: Collection[tuple[str, Iterable[str]]]) -> list[list[str]]:
    """The values that nobody needs after each step, a step's own included where no other takes it."""
    finished: list[list[str]] = [[] for _ in steps]
    for name, index in last_uses(steps).items():
        finished[index].append(name)
    return finished


def schedule(nodes: Iterable[Node]) -> Schedule:
    """The nodes in order, each with the values that nobody needs after it, its own included where no other node does."""
    nodes = list(nodes)
    return list(zip(nodes, finished_values([(node.name, node.inputs) for node in nodes]), strict=True))


def walk(
    steps: Schedule, values: Mapping[str, Any], visit: Callable[[Node, list[Any]], Any], keep: Collection[str] = ()
) -> dict[str, Any]:
    """Visit the nodes in order: `visit(node, values of its inputs)` gives the node's value, whatever that is.

    values: what there is at the start, the input first of all. A value is let go after its last use. What is left at the end:
    those named in `keep`, and values of the start that no node takes.
    """
    values = dict(values)
    for node, finished in steps:
        values[node.name] = visit(node, [values[name] for name in node.inputs])
        for name in finished:
            if name not in keep:
                del values[name]
    return values
