import keras
import numpy as np
import pytest
from keras import ops

from must_keras.modeling.detection_heads import BoxHead, MaskHead, RegionProposalNetwork

NORM = {"momentum": 0.9, "epsilon": 1e-4}
PYRAMID = {"P3": (2, 4, 6, 5), "P4": (2, 2, 3, 5)}


def layers_and_inputs():
    rng = np.random.default_rng(0)
    pyramid = {key: rng.normal(size=shape).astype(np.float32) for key, shape in PYRAMID.items()}
    regions = rng.normal(size=(6, 3, 3, 5)).astype(np.float32)
    small = {"region": 3, "channels": 4, "num_convs": 2, "norm": NORM}
    return {
        "rpn": (RegionProposalNetwork(num_anchors=3, channels=4, norm=NORM), PYRAMID, (pyramid,)),
        "box_head": (BoxHead(num_classes=2, units=8, **small), (None, 3, 3, 5), (regions,)),
        "mask_head": (
            MaskHead(num_classes=2, **small),
            (None, 3, 3, 5),
            (regions, np.array([0, 1, 0, 1, 1, 0], np.int32)),
        ),
    }


@pytest.mark.parametrize("name", ["rpn", "box_head", "mask_head"])
def test_build_makes_every_variable_and_the_config_brings_the_layer_back(name):
    layer, shape, inputs = layers_and_inputs()[name]
    layer.build(shape)
    number = len(layer.variables)
    expected = keras.tree.map_structure(ops.convert_to_numpy, layer(*inputs))
    assert len(layer.variables) == number

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    if not again.built:
        again.build(shape)
    again.set_weights(layer.get_weights())
    found = keras.tree.map_structure(ops.convert_to_numpy, again(*inputs))
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rpn_outputs_are_in_the_order_of_level_row_column_anchor():
    rpn, shape, (pyramid,) = layers_and_inputs()["rpn"]
    rpn.build(shape)
    scores, deltas = rpn(pyramid)
    assert scores.shape == (2, (4 * 6 + 2 * 3) * 3)
    assert deltas.shape == (2, (4 * 6 + 2 * 3) * 3, 4)
    changed = dict(pyramid)
    changed["P4"] = pyramid["P4"] + 1.0
    again, _ = rpn(changed)
    same = np.isclose(ops.convert_to_numpy(scores), ops.convert_to_numpy(again)).all(axis=0)
    assert same[:72].all() and not same[72:].all()


def test_rpn_convolutions_are_shared_and_norms_are_not():
    rpn, shape, _ = layers_and_inputs()["rpn"]
    rpn.build(shape)
    kernels = [v for v in rpn.variables if "kernel" in v.path]
    assert len(kernels) == 2 + 2
    assert len([v for v in rpn.variables if "gamma" in v.path]) == 2 * len(PYRAMID)


def test_a_mask_depends_on_its_class_as_one_channel_of_all_would():
    head, shape, (regions, classes) = layers_and_inputs()["mask_head"]
    head.build(shape)
    found = ops.convert_to_numpy(head(regions, classes))
    assert found.shape == (6, 6, 6)
    every = np.stack(
        [ops.convert_to_numpy(head(regions, np.full(6, k, np.int32))) for k in range(2)]
    )
    np.testing.assert_allclose(found, every[classes, np.arange(6)], atol=1e-6)
    assert not np.allclose(every[0], every[1])


def test_half_precision_gives_float32_outputs():
    head = BoxHead(num_classes=2, region=3, channels=4, units=8, norm=NORM, dtype="mixed_bfloat16")
    head.build((None, 3, 3, 5))
    scores, deltas = head(np.zeros((1, 3, 3, 5), np.float32))
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    assert keras.backend.standardize_dtype(deltas.dtype) == "float32"
    assert {layer.compute_dtype for layer in head.convs} == {"bfloat16"}


@pytest.mark.parametrize("num_classes", [1, 80])
def test_first_mask_logits_do_not_depend_on_the_number_of_classes(num_classes):
    head = MaskHead(num_classes=num_classes, region=2, channels=512)
    head.build((None, 2, 2, 8))
    np.testing.assert_allclose(np.std(head.kernel), (2 / 512) ** 0.5, rtol=0.15)
