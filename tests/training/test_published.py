"""Published models' conventions: what a column says of pictures whose right answer is known."""

import numpy as np
import pytest
import tensorflow as tf

from fakes import published_models
from must_keras.config.recipe import ExternalTeacher
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel, ExternalPredictor
from must_keras.tasks import Classification, Depth, Detection, Segmentation

FAR = Depth(name="far", kind="relative_inverse")
THINGS = Detection(name="things", classes=("dark", "bright"), with_masks=False)
# (height, width) of pictures, and the bright rectangle in each: (top, left, bottom, right).
SIZES = [(40, 60), (60, 40), (30, 60)]
PLACES = [(10, 30, 20, 45), (6, 8, 48, 12), (0, 20, 30, 60)]


class Rectangles(Source):
    """Dark pictures of several shapes with a bright rectangle in each."""

    name, label_spaces = "rectangles", {}

    def __len__(self):
        return len(SIZES)

    def image_id(self, index):
        return str(index)

    def image(self, index):
        picture = np.full((*SIZES[index], 3), (20, 30, 40), np.uint8)
        top, left, bottom, right = PLACES[index]
        picture[top:bottom, left:right] = (250, 240, 230)
        return picture

    def labels(self, index):
        return {}

    def describe(self):
        return {"name": self.name}


def decoded(model: ExternalModel, task, map_size=None):
    """What a column of the model's answers gives back, of every picture."""
    size = (model.size, model.size)
    (batch,) = evaluation_batches(
        LabeledExamples(Rectangles(), []), [], size=model.size, batch=4, ranges=[range(3)]
    )
    (found,) = ExternalPredictor(model, task, map_size or size)([batch])
    labels = []
    for i in range(len(SIZES)):
        outputs = {key: value[i] for key, value in found.outputs[task.name].items()}
        labels.append(
            task.records.to_label(
                task.records.from_prediction(outputs, found.x["area"][i], size), None
            )
        )
    return labels


def models(tmp_path, size):
    """MiDaS in both of its published forms."""
    published_models.midas(tmp_path / "midas.keras", size)
    published_models.midas_of_tf_hub(tmp_path / "hub", size)
    common = {"size": size, "form": "relative_inverse"}
    yield ExternalModel(
        model=tmp_path / "midas.keras",
        offset=published_models.OFFSET,
        scale=published_models.SCALE,
        **common,
    )
    yield ExternalModel(
        model=tmp_path / "hub", scale=(255.0, 255.0, 255.0), layout="channels_first", **common
    )


def test_depth_is_where_the_picture_is(tmp_path):
    """At 120 pixels every picture is seen twice as large, with half-pixel centers."""
    for model in models(tmp_path, 120):
        for i, label in enumerate(decoded(model, FAR)):
            height, width = SIZES[i]
            depth = label["depth"]
            # The padding is cut off.
            assert depth.shape == (2 * height, 2 * width)
            expected = Rectangles().image(i).mean(-1) / 255
            large = np.repeat(np.repeat(expected, 2, 0), 2, 1)
            # Beside an edge bilinear sampling mixes; half a pixel elsewhere would move it.
            around = np.lib.stride_tricks.sliding_window_view(np.pad(large, 1, "edge"), (3, 3))
            even = around.min((2, 3)) == around.max((2, 3))
            assert even.mean() > 0.8
            np.testing.assert_allclose(depth[even], large[even], atol=2e-5)
            # Bright is near: relative inverse depth is larger there.
            assert depth.max() > 5 * depth.min()
            # An edge lies where it was: between the cells before and behind it.
            top, left, _, _ = PLACES[i]
            row, column = 2 * top + 2, 2 * left
            low, high = expected.min(), expected.max()
            share = (depth[row, column - 1 : column + 1] - low) / (high - low)
            # What is seen is rounded to a whole gray.
            np.testing.assert_allclose(share, [0.25, 0.75], atol=0.51 / 255 / (high - low))


def test_a_large_network_is_stored_at_320_cells(tmp_path):
    published_models.midas(tmp_path / "midas.keras", 384)
    model = ExternalModel(
        model=tmp_path / "midas.keras", size=384, form="relative_inverse",
        offset=published_models.OFFSET, scale=published_models.SCALE,
    )  # fmt: skip
    depth = decoded(model, FAR, map_size=(192, 192))[0]["depth"]
    # 40 x 60 in 384 is 256 x 384, in half of that 128 x 192.
    assert depth.shape == (128, 192)
    near, far = 720 / 3 / 255, 90 / 3 / 255
    top, left, bottom, right = (int(3.2 * v) for v in PLACES[0])
    np.testing.assert_allclose(depth[top + 3 : bottom - 3, left + 3 : right - 3], near, atol=1e-4)
    np.testing.assert_allclose(depth[: top - 3], far, atol=1e-4)


@pytest.mark.parametrize("size", [120, 240])
def test_boxes_are_where_the_picture_is(tmp_path, size):
    published_models.detector(tmp_path / "detector")
    model = ExternalModel(model=tmp_path / "detector", size=size, form="tf2_detection")
    for i, label in enumerate(decoded(model, THINGS)):
        height, width = SIZES[i]
        top, left, bottom, right = PLACES[i]
        expected = [[top / height, left / width, bottom / height, right / width]]
        np.testing.assert_allclose(label["boxes"], expected, atol=1e-6)
        # Class 2 of the detector is the task's second.
        assert label["classes"].tolist() == [1]


def test_a_picture_without_a_detection_has_no_object(tmp_path, monkeypatch):
    published_models.detector(tmp_path / "detector")
    monkeypatch.setattr(
        Rectangles, "image", lambda self, index: np.zeros((*SIZES[index], 3), np.uint8)
    )
    model = ExternalModel(model=tmp_path / "detector", size=120, form="tf2_detection")
    for label in decoded(model, THINGS):
        assert len(label["boxes"]) == 0 and label["labelled"] == 1


def test_a_detectors_numbers_are_given(tmp_path):
    """COCO's numbers have gaps: 90 for 80 classes."""
    published_models.detector(tmp_path / "detector", first=90)
    model = {"model": tmp_path / "detector", "size": 120, "form": "tf2_detection"}
    with pytest.raises(
        UserError, match="returns class 90, there are 2, numbered from 1; .*class_ids"
    ):
        decoded(ExternalModel(**model), THINGS)
    label = decoded(ExternalModel(**model, class_ids=(90, 7)), THINGS)[0]
    assert label["classes"].tolist() == [0]
    # What the task has no class for is left out.
    assert len(decoded(ExternalModel(**model, class_ids=(1, 7)), THINGS)[0]["boxes"]) == 0
    with pytest.raises(UserError, match="a number of its own for each of 2 classes, received 3"):
        teacher(THINGS, ExternalModel(**model, class_ids=(1, 2, 3)))
    kinds = Classification(name="kinds", classes=("a", "b"))
    with pytest.raises(UserError, match=r"kinds: class_ids=\(1, 2\) belong to a detector"):
        teacher(kinds, ExternalModel(**model | {"form": "logits"}, class_ids=(1, 2)))


def teacher(task, model):
    return ExternalTeacher(name="t", task=task, model=model, loss_weight=1.0)


def test_masks_and_scores_come_along():
    task = Detection(name="o", classes=("cat", "dog"))
    said = {
        "detection_boxes": np.float32([[[0, 0, 0.5, 1], [0.25, 0.5, 0.75, 1], [0, 0, 1, 1]]]),
        "detection_scores": np.float32([[0.5, 0.9, 0.99]]),
        "detection_classes": np.float32([[1, 2, 1]]),
        "detection_masks": np.ones((1, 3, 33, 33), np.float32) * np.float32([0.1, 0.2, 0.3])[:, None, None],
        "num_detections": np.float32([2]),
    }  # fmt: skip
    found = task.external.decode(said, "tf2_detection", (8, 8), size=(40, 80))
    # By score; the third is beyond their number, whatever its score.
    assert found["classes"].tolist() == [[-1, 1, 0]]
    assert found["boxes"][0, 1:].tolist() == [[10, 40, 30, 80], [0, 0, 20, 80]]
    np.testing.assert_allclose(found["masks"][0, :, 0, 0], [0.3, 0.2, 0.1])
    del said["detection_classes"]
    with pytest.raises(UserError, match=r"does not return \['detection_classes'\]"):
        task.external.decode(said, "tf2_detection", (8, 8), size=(40, 80))
    with pytest.raises(UserError, match=r"does not return \['boxes', 'classes', 'scores'\]"):
        task.external.decode(np.zeros((1, 3, 4)), "yxyx", (8, 8), size=(40, 80))


def test_what_a_signature_does_not_take(tmp_path):
    published_models.detector(tmp_path / "detector")
    published_models.midas_of_tf_hub(tmp_path / "hub", 32)
    shifted = ExternalModel(
        model=tmp_path / "detector", size=32, form="tf2_detection", offset=(127.0, 127.0, 127.0)
    )
    with pytest.raises(UserError, match="takes images as uint8, 0 to 255: .*offset and scale"):
        shifted.load()
    hub = {"model": tmp_path / "hub", "form": "relative_inverse"}
    message = r"\(1, 3, 32, 32\), and size=32 with layout='channels_last' gives \(batch, 32, 32, 3"
    with pytest.raises(UserError, match=message):
        ExternalModel(**hub, size=32).load()
    # TensorFlow itself would take them.
    with pytest.raises(UserError, match=r"size=64 .* gives \(batch, 3, 64, 64\)"):
        ExternalModel(**hub, size=64, layout="channels_first").load()
    with pytest.raises(UserError, match="layout='NCHW'; allowed are channels_last, channels_first"):
        ExternalModel(**hub, size=32, layout="NCHW")

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3)), tf.TensorSpec(())])
        def serve(self, images, share):
            return images * share

    tf.saved_model.save(Two(), str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"takes several tensors \(images, share\)"):
        ExternalModel(model=tmp_path / "two", size=8, form="logits").load()


def test_a_map_with_channels_first_is_turned():
    """Segmentation logits [B, K, H, W]."""
    task = Segmentation(name="parts", classes=("x", "y"))

    def function(images):
        assert images.shape[1:] == (3, 8, 8)
        return tf.stack([images[:, 0] * 0, images[:, 0] - 100.0], axis=1)

    model = ExternalModel(
        model=function, version="1", size=8, form="logits", layout="channels_first"
    )
    columns = np.float32([50, 150]).repeat(4)[None, None, :, None]
    x = {"image": tf.constant(np.tile(columns, (1, 8, 1, 3)))}
    found = ExternalPredictor(model, task, (8, 8)).outputs(x)["parts"]["map"]
    np.testing.assert_array_equal(found[0], np.tile([0, 0, 0, 0, 1, 1, 1, 1], (8, 1)))
