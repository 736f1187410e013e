"""Networks and their weights for others: epcore's own weight files, Keras' layout, ONNX."""

from epcore.export.keras import export_keras
from epcore.export.onnx import export_onnx
from epcore.export.weights import export_weights

__all__ = ["export_keras", "export_onnx", "export_weights"]
