"""Files of a student for other runtimes: one file a format, beside its interface and the check."""

from must_keras.exports.format import ExportFormat
from must_keras.exports.litert import LiteRT
from must_keras.exports.onnx import Onnx

__all__ = ["ExportFormat", "LiteRT", "Onnx"]
