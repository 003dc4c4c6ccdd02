"""Tiny ONNX files of which the right answers are known. Not a test."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def write(path, nodes, inputs, outputs, constants=()):
    """A file of operations (type, inputs, outputs, attributes) between tensors {name: (type, shape)}."""
    graph = helper.make_graph(
        [helper.make_node(kind, given, made, **values) for kind, given, made, values in nodes],
        "tiny",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def depth(path, size="size", batch="batch"):
    """[B, 3, S, S] to the mean of the colors, "predicted_depth" [B, S, S], and to their maximum."""
    axes = [("axes", np.int64([1]))]
    return write(
        path,
        [
            ("ReduceMean", ["pixel_values", "axes"], ["predicted_depth"], {"keepdims": 0}),
            ("ReduceMax", ["pixel_values", "axes"], ["other"], {"keepdims": 0}),
        ],
        {"pixel_values": (FLOAT, [batch, 3, size, size])},
        {name: (FLOAT, [batch, size, size]) for name in ("predicted_depth", "other")},
        axes,
    )


def classifier(path):
    """[B, S, S, 3] uint8, channels last, to the mean of each color: three logits."""
    return write(
        path,
        [
            ("Cast", ["images"], ["floats"], {"to": FLOAT}),
            ("ReduceMean", ["floats", "axes"], ["logits"], {"keepdims": 0}),
        ],
        {"images": (UINT8, ["batch", "height", "width", 3])},
        {"logits": (FLOAT, ["batch", 3])},
        [("axes", np.int64([1, 2]))],
    )


def detector(path, answers, size=8, *, more=True):
    """[1, 3, S, S] to fixed answers {output: value}, whatever the image; and to the image."""
    nodes = [("Identity", [f"{name}_value"], [name], {}) for name in answers]
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in answers.items()}
    return write(
        path,
        [*nodes, *([("Identity", ["image"], ["unused"], {})] if more else [])],
        {"image": (FLOAT, [1, 3, size, size])},
        {name: (kinds[name], list(value.shape)) for name, value in answers.items()}
        | ({"unused": (FLOAT, [1, 3, size, size])} if more else {}),
        [(f"{name}_value", value) for name, value in answers.items()],
    )
