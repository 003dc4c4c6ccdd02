"""KerasHub's tasks as external teachers: presets of few random weights, in an environment with it."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import fenced_blocks
from must_keras import tasks
from must_keras.config.recipe import ExternalTeacher
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel, ExternalPredictor
from must_keras.inference.keras_hub_tasks import KerasHubDepth, KerasHubDetector, KerasHubSegmenter
from must_keras.tasks import Depth, Detection, Segmentation

IMAGENET = {"scale": [1 / 58.395, 1 / 57.12, 1 / 57.375],
            "offset": [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375]}  # fmt: skip


def test_without_keras_hub_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    model = ExternalModel(model=KerasHubDepth("x"), size=8, form="meters")
    with pytest.raises(UserError, match=r"pip install keras-hub, or the extra must-keras\[hub\]"):
        model.sha256()
    # A folder is identified by its content.
    digests = set()
    for content in (b"1", b"2"):
        (tmp_path / "model.weights.h5").write_bytes(content)
        for kind in (KerasHubDepth, KerasHubSegmenter):
            digests.add(ExternalModel(model=kind(tmp_path), size=8, form="meters").sha256())
    assert len(digests) == 4
    with pytest.raises(UserError, match="preset is an int"):
        KerasHubDepth(3)


def test_the_teachers_of_the_page_are_teachers():
    kinds = (KerasHubDepth, KerasHubDetector, KerasHubSegmenter, ExternalModel, ExternalTeacher)
    names = vars(tasks) | {kind.__name__: kind for kind in kinds}
    names["read_class_names"] = lambda path: ("road", "sky")
    found = [eval(b.code, dict(names)) for b in fenced_blocks.blocks("python", "hub_teacher")]
    presets = [teacher.model.model.preset for teacher in found]
    assert presets == [
        "depth_anything_v2_small", "dfine_small_coco", "retinanet_resnet50_fpn_coco",
        "segformer_b0_cityscapes_1024",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_presets_of_the_page_are_those_of_keras_hub(hub):
    for kind, base in (
        (KerasHubDepth, hub.models.DepthEstimator),
        (KerasHubDetector, hub.models.ObjectDetector),
        (KerasHubSegmenter, hub.models.ImageSegmenter),
    ):
        named = [b.code.partition(f"{kind.__name__}(")[2].split('"')[1]
                 for b in fenced_blocks.blocks("python", "hub_teacher") if kind.__name__ in b.code]  # fmt: skip
        assert named and set(named) <= base.presets.keys()


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def saved(task, tmp_path):
    task.save_to_preset(str(tmp_path / "preset"))
    return tmp_path / "preset"


def predicted(model, task, count=2):
    images = np.random.default_rng(0).uniform(0, 255, (count, model.size, model.size, 3))
    predictor = ExternalPredictor(model, task, (model.size, model.size))
    return images, predictor.outputs({"image": tf.constant(images, tf.float32)})[task.name]


def normalized(images):
    return images * IMAGENET["scale"] + IMAGENET["offset"]


@pytest.mark.slow
def test_depth_anything(hub, tmp_path):
    encoder = hub.models.DINOV2Backbone(
        patch_size=14, num_layers=4, hidden_dim=16, num_heads=2, intermediate_dim=32,
        image_shape=(112, 112, 3),
    )  # fmt: skip
    backbone = hub.models.DepthAnythingBackbone(
        image_encoder=encoder, reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 8, 8, 8], fusion_hidden_dim=8, head_hidden_dim=8, head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    converter = hub.layers.DepthAnythingImageConverter(image_size=(112, 112), **IMAGENET)
    task = hub.models.DepthAnythingDepthEstimator(
        backbone=backbone,
        preprocessor=hub.models.DepthAnythingDepthEstimatorPreprocessor(converter),
        depth_estimation_type="relative",
    )
    path = saved(task, tmp_path)
    near = Depth(name="near", kind="relative_inverse")
    model = ExternalModel(model=KerasHubDepth(path), size=112, form="relative_inverse")
    images, found = predicted(model, near)
    expected = keras.ops.convert_to_numpy(
        task(normalized(images).astype("float32"), training=False)["depths"]
    )
    np.testing.assert_allclose(found["depth"], expected[..., 0], rtol=1e-3, atol=1e-5)
    other = ExternalModel(model=KerasHubDepth(path), size=126, form="relative_inverse")
    with pytest.raises(UserError, match=r"takes images of 112x112 pixels: set size=112"):
        ExternalPredictor(other, near, (126, 126)).check()


@pytest.mark.slow
def test_segformer(hub, tmp_path):
    encoder = hub.models.MiTBackbone(
        layerwise_num_heads=[1, 1, 1, 1], layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3], layerwise_strides=[4, 2, 2, 2],
        layerwise_depths=[1, 1, 1, 1], num_layers=4, hidden_dims=[8, 16, 24, 32],
        max_drop_path_rate=0.1, image_shape=(64, 64, 3),
    )  # fmt: skip
    converter = hub.layers.SegFormerImageConverter(image_size=(64, 64), **IMAGENET)
    task = hub.models.SegFormerImageSegmenter(
        backbone=hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=8),
        num_classes=3,
        preprocessor=hub.models.SegFormerImageSegmenterPreprocessor(converter),
    )
    model = ExternalModel(model=KerasHubSegmenter(saved(task, tmp_path)), size=64, form="logits")
    parts = Segmentation(name="parts", classes=("a", "b", "c"))
    images, found = predicted(model, parts)
    logits = keras.ops.convert_to_numpy(task(normalized(images).astype("float32"), training=False))
    assert (found["map"] == logits.argmax(axis=-1)).mean() > 0.999
    confidence = keras.ops.convert_to_numpy(keras.ops.softmax(logits)).max(axis=-1)
    np.testing.assert_allclose(found["confidence"], confidence, rtol=1e-3)


def check_detector(model, hub_task, images, found, classes):
    """What the task itself predicts, at a lower score."""
    inputs = normalized(images).astype("float32")
    hub_task.prediction_decoder = type(hub_task.prediction_decoder).from_config(
        hub_task.prediction_decoder.get_config() | {"confidence_threshold": 0.05}
    )
    expected = hub_task.decode_predictions(hub_task(inputs, training=False), inputs)
    count = int(keras.ops.convert_to_numpy(expected["num_detections"])[0])
    assert count > 0 and (found["classes"][0] >= 0).sum() == count
    scores = keras.ops.convert_to_numpy(expected["confidence"])[0, :count]
    np.testing.assert_allclose(found["scores"][0, :count], np.sort(scores)[::-1], rtol=1e-3)
    best = scores.argmax()
    box = keras.ops.convert_to_numpy(expected["boxes"])[0, best]
    if hub_task.bounding_box_format == "xyxy":
        box = box[[1, 0, 3, 2]]
    np.testing.assert_allclose(found["boxes"][0, 0], box, rtol=1e-3, atol=1e-2)
    assert found["classes"].max() < classes


@pytest.mark.slow
@pytest.mark.parametrize("form", ["yxyx", "xyxy"])
def test_retinanet(form, hub, tmp_path):
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1], stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block", image_shape=(128, 128, 3),
    )  # fmt: skip
    backbone = hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=5, use_p5=False, image_shape=(128, 128, 3)
    )
    converter = hub.layers.RetinaNetImageConverter(image_size=(128, 128), **IMAGENET)
    task = hub.models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=3, bounding_box_format=form,
        preprocessor=hub.models.RetinaNetObjectDetectorPreprocessor(image_converter=converter),
    )  # fmt: skip
    # With the scores of a prior of 0.01 there is no detection.
    task.classification_head.set_weights(
        [
            w + np.random.default_rng(0).normal(0, 0.5, w.shape)
            for w in task.classification_head.get_weights()
        ]
    )
    path = saved(task, tmp_path)
    model = ExternalModel(model=KerasHubDetector(path), size=128, form="yxyx")
    things = Detection(name="things", classes=("a", "b", "c"), with_masks=False)
    images, found = predicted(model, things)
    check_detector(model, task, images, found, 3)


@pytest.mark.slow
def test_d_fine(hub, tmp_path):
    stages = [
        [8, 8, 16, 1, 1, 3],
        [16, 8, 32, 1, 1, 3],
        [32, 16, 64, 1, 1, 3],
        [64, 16, 64, 1, 1, 3],
    ]
    encoder = hub.models.HGNetV2Backbone(
        stem_channels=[3, 8, 8], stackwise_stage_filters=stages,
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True], depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 64, 64], embedding_size=8, use_learnable_affine_block=True,
        hidden_act="relu", image_shape=(128, 128, 3), out_features=["stage3", "stage4"],
    )  # fmt: skip
    backbone = hub.models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[32, 32], encoder_hidden_dim=32, num_denoising=10,
        num_labels=3, hidden_dim=32, learn_initial_query=False, num_queries=20,
        anchor_image_size=(128, 128), feat_strides=[16, 32], num_feature_levels=2,
        encoder_in_channels=[64, 64], encode_proj_layers=[1], num_attention_heads=4,
        encoder_ffn_dim=32, num_encoder_layers=1, hidden_expansion=0.5, depth_multiplier=0.5,
        eval_idx=-1, num_decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=32,
        decoder_n_points=[3, 3], lqe_hidden_dim=16, num_lqe_layers=2,
        out_features=["stage3", "stage4"], image_shape=(128, 128, 3),
    )  # fmt: skip
    converter = hub.layers.DFineImageConverter(image_size=(128, 128), **IMAGENET)
    task = hub.models.DFineObjectDetector(
        backbone=backbone, num_classes=3, bounding_box_format="yxyx",
        preprocessor=hub.models.DFineObjectDetectorPreprocessor(image_converter=converter),
    )  # fmt: skip
    for weight in task.weights:
        if "class_embed" in weight.path and weight.path.endswith("bias"):
            weight.assign(weight + 3.0)
    path = saved(task, tmp_path)
    model = ExternalModel(model=KerasHubDetector(path), size=128, form="yxyx")
    things = Detection(name="things", classes=("a", "b", "c"), with_masks=False)
    images, found = predicted(model, things)
    check_detector(model, task, images, found, 3)
