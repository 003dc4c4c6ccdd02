"""What is served is what scoring and labeling compute, in operations that have an ONNX form."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from fakes.few_layers import FewLayers
from fakes.random_examples import NORM, PARTS
from must_keras.data.pipeline import evaluation_batches
from must_keras.inference.model import neck_of, serve
from must_keras.inference.predictor import Predictor
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import visible_area
from must_keras.training.building import build_model
from must_keras.training.network import Network

# Those of tf2onnx 1.17 at opset 18; among the others are ScaleAndTranslate and Bitcast.
WITH_AN_ONNX_FORM = {
    "Abs", "AddV2", "All", "Any", "ArgMax", "BatchMatMulV2", "BiasAdd", "Cast", "ConcatV2",
    "Const", "Conv2D", "Conv2DBackpropInput", "Equal", "Exp", "ExpandDims", "Floor", "FloorDiv",
    "FloorMod", "FusedBatchNormV3", "GatherV2", "Greater", "GreaterEqual", "Identity", "Less",
    "Log", "LogicalAnd", "LogicalNot", "MatMul", "Max", "MaxPool", "Maximum", "Min", "Minimum",
    "Mul", "NoOp", "NotEqual", "Pack", "Pad", "Placeholder", "Range", "ReadVariableOp", "RealDiv",
    "Relu", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "Round", "Rsqrt", "ScatterNd",
    "SelectV2", "Shape", "Sigmoid", "Softmax", "Sqrt", "Square", "Squeeze", "StatelessWhile",
    "StopGradient", "StridedSlice", "Sub", "Sum", "Tile", "TopKV2", "Unpack", "Where",
}  # fmt: skip
SIZES = [(48, 96), (97, 51), (64, 64), (20, 13), (300, 200), (193, 193), (1, 70), (1, 1)]


class Pictures:
    """Noise and smooth pictures of many sizes, without labels."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.images = []
        for height, width in SIZES:
            rows, columns = np.mgrid[:height, :width]
            smooth = np.stack([rows * 3, columns * 2, rows + columns], -1) % 256
            noise = random.integers(0, 256, (height, width, 3))
            self.images += [smooth.astype(np.uint8), noise.astype(np.uint8)]

    def __len__(self):
        return len(self.images)

    def image_id(self, index):
        return str(index)

    def load(self, index):
        return self.images[index], {}


@pytest.fixture(scope="module")
def served(model):
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8)
    return tf.function(lambda images: serve(model, images), autograph=False).get_concrete_function(
        spec
    )


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model)


def test_classes_and_boxes_are_those_of_scoring(predictor, served):
    pictures, count = Pictures(), 0
    batches = evaluation_batches(pictures, [], size=64, batch=1, ranges=[range(len(pictures))])
    for image, scored in zip(pictures.images, predictor(batches), strict=True):
        found = {key: value.numpy() for key, value in served(tf.constant(image[None])).items()}
        wanted, area = scored.outputs, scored.x["area"][0]
        scale = np.array(image.shape[:2], np.float32) / (area[2:] - area[:2])
        boxes = wanted["things"]["boxes"] * np.tile(scale, 2)
        np.testing.assert_allclose(found["things.boxes"], boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(found["things.classes"], wanted["things"]["classes"])
        for head, output in (("things", "scores"), ("things", "masks"), ("kind", "probabilities")):
            np.testing.assert_allclose(
                found[f"{head}.{output}"], wanted[head][output], rtol=1e-4, atol=1e-5
            )
        count += int((found["things.classes"] >= 0).sum())
    assert count > len(pictures)


def test_maps_are_the_nearest_and_bilinear_samples_of_those_of_scoring(predictor, served):
    """At the centers of the image's pixels, within the visible area alone."""
    image = Pictures().images[3]
    view = letterbox(tf.constant(image.shape[:2]), (64, 64))
    height, width = np.rint(visible_area(view)[2:]).astype(int)
    batches = evaluation_batches(Pictures(), [], size=64, batch=1, ranges=[range(3, 4)])
    wanted = next(predictor(batches)).outputs
    found = served(tf.constant(image[None]))
    places = [
        (np.arange(n) + 0.5) * visible / n
        for n, visible in zip(image.shape[:2], (height, width), strict=True)
    ]
    # On the edge between two pixels either is the nearest.
    kept = np.ix_(*(np.abs(p - np.rint(p)) > 1e-3 for p in places))
    near = np.ix_(*(p[np.abs(p - np.rint(p)) > 1e-3].astype(int) for p in places))
    assert all(len(index.ravel()) > 20 for index in near)
    for head, output in (("parts", "map"), ("facing", "normals")):
        np.testing.assert_allclose(
            found[f"{head}.{output}"].numpy()[0][kept], wanted[head][output][0][near], atol=1e-5
        )
    depth = wanted["far"]["depth"][0][:height, :width]
    for axis, (place, visible) in enumerate(zip(places, (height, width), strict=True)):
        place = np.clip(place - 0.5, 0, visible - 1)
        before = np.floor(place).astype(int)
        after, share = np.minimum(before + 1, visible - 1), place - before
        share = share[:, None] if axis == 0 else share
        depth = np.take(depth, before, axis) * (1 - share) + np.take(depth, after, axis) * share
    np.testing.assert_allclose(found["far.depth"][0], depth, rtol=1e-4)


def test_every_operation_has_an_onnx_form(served):
    graph = served.graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(f.node_def for f in graph.library.function))
    assert {node.op for node in nodes} <= WITH_AN_ONNX_FORM


def test_no_operation_is_of_a_type_that_litert_lacks(served):
    """It has no selection and no resizing of bytes, and does not unstack 64-bit integers."""
    lacking = {("SelectV2", tf.uint8), ("ResizeNearestNeighbor", tf.uint8), ("Unpack", tf.int64)}
    graph = served.graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(f.node_def for f in graph.library.function))
    found = {(node.op, node.attr["T"].type) for node in nodes}
    assert ("SelectV2", tf.float32.as_datatype_enum) in found
    assert not found & {(name, dtype.as_datatype_enum) for name, dtype in lacking}


def test_an_exported_neck_takes_images_of_any_size():
    network = Network(backbone=FewLayers(), size=96, channels=8)
    model = build_model(network, [PARTS], seed=0, norm=NORM)
    neck = neck_of(model)
    image = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    levels = model.get_layer("backbone")(image)
    expected = model.get_layer("neck")({level: levels[level] for level in ("C3", "C4", "C5")})
    for level, feature in neck(image).items():
        np.testing.assert_allclose(
            feature, expected["P2" if level == "fused" else level], rtol=1e-4, atol=1e-5
        )
    for height, width in ((64, 160), (100, 75), (31, 33)):
        found = neck(np.zeros((1, height, width, 3), np.float32))
        for level in range(3, 8):
            cells = (-(-height // 2**level), -(-width // 2**level))
            assert found[f"P{level}"].shape == (1, *cells, 8)
        assert found["fused"].shape == (1, *(2 * side for side in found["P3"].shape[1:3]), 8)
