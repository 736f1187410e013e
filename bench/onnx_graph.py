"""A network as the ONNX model that ONNX Runtime is measured on: epcore's export, of the last map alone.

Batch norms are folded and one transposition of the picture stands at the start. The bilinear upscaling is written as a grouped
convolution, far less work than the dense one of the same values; ONNX Runtime optimises the rest when it loads it (blocked
layouts, activations fused into convolutions).
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from epcore.export.onnx import onnx_model
from epcore.network import Network


def build(model: Network) -> tuple[ModelProto, str]:
    """Input "x" (batch,R,R,3) float32; the output, whose name comes second, is what the plan calls `final`."""
    labels = list(model.graph.outputs)
    final = "upscaled" if "upscaled" in labels else labels[-1]
    network = Network(model.graph.pruned(final), model.name)
    network.parameters = {name: model.parameters[name] for name in network.parameters}
    proto = onnx_model(network)
    constants = {constant.name: constant for constant in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "ConvTranspose":
            constant = constants[node.input[1]]
            w = numpy_helper.to_array(constant)  # (Cin,Cout,kh,kw)
            diagonal = np.diagonal(w, axis1=0, axis2=1).transpose(2, 0, 1)
            dense = np.zeros_like(w)
            dense[range(len(w)), range(len(w))] = diagonal
            if w.shape[0] == w.shape[1] and np.array_equal(w, dense):
                constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(diagonal[:, None]), constant.name))
                node.attribute.append(helper.make_attribute("group", len(w)))
    return proto, final
