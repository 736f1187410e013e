"""Networks as data: the graph, its builder, the schedule everyone walks, and passes from a graph to a simpler one."""

from epcore.graph.builder import GraphBuilder
from epcore.graph.graph import INPUT, Graph, Node, Parameter

__all__ = ["INPUT", "Graph", "GraphBuilder", "Node", "Parameter"]
