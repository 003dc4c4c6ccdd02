"""ONNX files as external models: what they receive, and what of their outputs is read."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

import fenced_blocks
from must_keras import tasks
from must_keras.config.recipe import ExternalTeacher
from must_keras.errors import UserError
from must_keras.inference.external import ExternalPredictor
from must_keras.inference.onnx_model import OnnxModel
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Classification, Depth, Detection

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fakes import onnx_files

SIZE, MAP = 8, (8, 8)
NEAR = Depth(name="near", kind="relative_inverse")
KIND = Classification(name="kind", classes=("a", "b", "c"))
THINGS = Detection(name="things", classes=("cat", "dog"), with_masks=False)
IMAGENET = {"offset": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375)}


def images(count=3):
    return np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)


def outputs(model, task, count=3):
    predictor = ExternalPredictor(model, task, MAP)
    return predictor.outputs({"image": tf.constant(images(count))})[task.name]


@pytest.mark.parametrize("batch", ["batch", 1])
def test_depth_of_normalized_images_with_the_channels_first(batch, tmp_path):
    path = onnx_files.depth(tmp_path / "depth.onnx", batch=batch)
    model = OnnxModel(
        path, size=SIZE, form="relative_inverse", output="predicted_depth", colors="bgr", **IMAGENET
    )
    expected = ((images() - IMAGENET["offset"]) / IMAGENET["scale"]).mean(axis=-1)
    np.testing.assert_allclose(outputs(model, NEAR)["depth"], expected, rtol=1e-4, atol=1e-5)
    ExternalTeacher(name="near", task=NEAR, model=model, loss_weight=1.0).preflight()


def test_classes_of_whole_numbers_with_the_channels_last(tmp_path):
    path = onnx_files.classifier(tmp_path / "classes.onnx")
    model = OnnxModel(path, size=SIZE, form="logits", layout="channels_last")
    logits = np.rint(images()).mean(axis=(1, 2))
    logits -= logits.max(axis=1, keepdims=True)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = outputs(model, KIND)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_outputs_of_a_detector_have_names_of_their_own(tmp_path):
    answers = {
        "dets": np.float32([[[1, 2, 3, 4], [0, 0, 8, 4]]]),
        "confidence": np.float32([[0.3, 0.9]]),
        "labels": np.int64([[18, 17]]),
    }
    path = onnx_files.detector(tmp_path / "detector.onnx", answers)
    names = {"boxes": "dets", "scores": "confidence", "classes": "labels"}
    model = OnnxModel(path, size=SIZE, form="xyxy", output=names, class_ids=(17, 18))
    found = outputs(model, THINGS, count=2)
    assert found["boxes"].tolist() == [[[0, 0, 4, 8], [2, 1, 4, 3]]] * 2
    assert found["classes"].tolist() == [[0, 1]] * 2
    odd = OnnxModel(path, size=SIZE, form="xyxy", output=names | {"scores": "confidences"})
    with pytest.raises(UserError, match="no output 'confidences'.*did you mean 'confidence'"):
        outputs(odd, THINGS)


def test_queries_are_boxes_of_the_best_classes(tmp_path):
    """Of 3 queries x 2 classes the 3 best: sigmoid(2), sigmoid(1) of one query, sigmoid(0)."""
    answers = {
        "logits": np.float32([[[1, 2], [-5, -4], [0, -3]]]),
        "pred_boxes": np.float32([[[0.5, 0.25, 0.5, 0.5], [0, 0, 0, 0], [0.25, 0.5, 0.5, 1.0]]]),
    }
    path = onnx_files.detector(tmp_path / "detr.onnx", answers)
    found = outputs(OnnxModel(path, size=SIZE, form="detr"), THINGS, count=1)
    assert found["classes"].tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(found["scores"], [[0.880797, 0.731059, 0.5]], rtol=1e-5)
    first, second = [0, 2, 4, 6], [0, 0, 8, 4]
    assert found["boxes"].tolist() == [[first, first, second]]
    with pytest.raises(UserError, match=r"does not return \['pred_boxes'\]"):
        THINGS.external.decode({"logits": answers["logits"]}, "detr", MAP, size=MAP)


def test_rows_of_a_suppressed_yolo_are_objects(tmp_path):
    rows = np.float32([[[2, 1, 4, 3, 0.25, 0], [0, 0, 4, 8, 0.75, 1], [0, 0, 0, 0, 0, 0]]])
    path = onnx_files.detector(tmp_path / "yolo.onnx", {"output0": rows})
    model = OnnxModel(path, size=SIZE, form="yolo", output="output0")
    found = outputs(model, THINGS, count=1)
    assert found["boxes"][0, :2].tolist() == [[0, 0, 8, 4], [1, 2, 3, 4]]
    assert found["classes"][0, :2].tolist() == [1, 0]
    assert found["scores"].tolist() == [[0.75, 0.25, 0.0]]
    record = THINGS.records.from_prediction(
        {key: value[0] for key, value in found.items()}, np.float32([0, 0, 8, 8]), MAP
    )
    assert len(record["boxes"]) == 2  # The empty row is below the floor.
    raw = np.zeros((1, 84, 8400), np.float32)
    with pytest.raises(UserError, match=r"shape \(1, 84, 8400\); yolo are \(batch, any, 6\)"):
        THINGS.external.decode(raw, "yolo", MAP, size=MAP)


def test_labels_depend_on_the_file_and_on_weights_beside_it(tmp_path):
    path = onnx_files.depth(tmp_path / "depth.onnx")
    model = OnnxModel(str(path), size=SIZE, form="relative_inverse")
    alone = describe(model)["model"]
    assert len(alone) == 64 and model == OnnxModel(model=str(path), size=8, form=model.form)
    digests = {alone}
    for end, content in ((".data", b"1"), (".data", b"2"), ("_data", b"1")):
        (tmp_path / f"depth.onnx{end}").write_bytes(content)
        digests.add(model.sha256())
    assert len(digests) == 4


def test_files_that_cannot_be_used(tmp_path):
    def problem(match, path, **given):
        values = {"size": SIZE, "form": "relative_inverse"} | given
        with pytest.raises(UserError, match=match) as error:
            OnnxModel(path, **values).load()
        assert "\n" not in str(error.value)
        return error.value

    problem("there is no file .*gone.onnx", tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    problem("text.onnx cannot be read by ONNX Runtime: .*; check the file", tmp_path / "text.onnx")
    path = onnx_files.depth(tmp_path / "depth.onnx", size=16)
    found = problem(r"shape \(None, 3, 16, 16\), and size=8 with .*\(batch, 3, 8, 8\)", path)
    assert (found.key, found.value) == ("size", 8)
    problem(r"gives \(batch, 16, 16, 3\)", path, size=16, layout="channels_last")
    path = onnx_files.classifier(tmp_path / "classes.onnx")
    last = {"layout": "channels_last", "form": "logits"}
    problem("takes images as uint8, 0 to 255: leave out offset and scale", path, **IMAGENET, **last)
    path = onnx_files.write(
        tmp_path / "two.onnx",
        [("Add", ["a", "b"], ["c"], {})],
        dict.fromkeys("ab", (onnx_files.FLOAT, [1])),
        {"c": (onnx_files.FLOAT, [1])},
    )
    problem(r"takes several tensors \(a, b\), expected images alone", path)
    with pytest.raises(UserError, match="model is an int"):
        OnnxModel(3, size=8, form="logits")


def test_without_onnx_runtime_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs onnxruntime: pip install onnxruntime") as error:
        OnnxModel(tmp_path / "a.onnx", size=8, form="logits").load()
    assert "must-keras[onnx]" in error.value.remedy


# ---- docs/how_to/ready_teachers.md --------------------------------------------------------------


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Files with the inputs and outputs of published ones."""
    monkeypatch.chdir(tmp_path)
    onnx_files.depth("depth_anything_v2_small.onnx")
    queries = {
        "logits": np.full((1, 300, 80), -5, np.float32),
        "pred_boxes": np.full((1, 300, 4), 0.5, np.float32),
    }
    queries["logits"][0, 7, 16] = 3.0
    onnx_files.detector("rtdetr_r18vd_coco_o365.onnx", queries, size=640)
    suppressed = {
        "boxes": np.float32([[[64, 0, 640, 320]]]), "scores": np.float32([[0.75]]),
        "labels": np.int64([[1]]),
    }  # fmt: skip
    onnx_files.detector("suppressed.onnx", suppressed, size=640)
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = (64, 0, 640, 320, 0.75, 16)
    onnx_files.detector("yolo11n.onnx", {"output0": rows}, size=640, more=False)


def test_every_teacher_of_the_page_labels(published):
    names = vars(tasks) | {"ExternalTeacher": ExternalTeacher, "OnnxModel": OnnxModel}
    blocks = fenced_blocks.blocks("python", "onnx_teacher")
    found = [eval(block.code, dict(names)) for block in blocks]
    assert [teacher.name for teacher in found] == [
        "depth_anything",
        "detector",
        "suppressed",
        "yolo",
    ]
    for teacher in found:
        teacher.preflight()
    boxes = ([160, 160, 480, 480], [0, 64, 320, 640], [0, 64, 320, 640])
    for teacher, box in zip(found[1:], boxes, strict=True):
        predictor = ExternalPredictor(teacher.model, teacher.task, MAP)
        image = tf.fill((1, 640, 640, 3), 128.0)
        objects = predictor.outputs({"image": image})[teacher.task.name]
        assert objects["classes"][0, 0] == 1  # The dog.
        assert objects["boxes"][0, 0].tolist() == box and objects["scores"][0, 0] > 0.7
