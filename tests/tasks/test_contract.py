"""What every task promises (tasks/base.py). A new task needs one line here: an instance."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras import tasks
from must_keras.errors import UserError
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks.base import Task
from must_keras.tasks.details import BACKGROUND
from must_keras.tasks.parts import Spec
from must_keras.tasks.thresholds import DROPPED
from tasks.edges import Edges

NARROW = {"channels": 4, "num_convs": 1}
INSTANCES = [
    tasks.Classification(name="class", classes=("ant", "bee", "cat")),
    tasks.Classification(name="top", classes=tuple("abcdefgh"), top_k=3, label_smoothing=0.1),
    tasks.Segmentation(name="map", classes=("wall", "floor", "ball"), loss_stride=4, **NARROW),
    tasks.Segmentation(name="fine", classes=("wall", "floor"), loss_stride=1, **NARROW),
    tasks.Depth(name="meters", kind="metric", **NARROW),
    tasks.Depth(name="inverse", kind="relative_inverse", loss_stride=2, **NARROW),
    tasks.Normals(name="normals", **NARROW),
    tasks.Tags(name="tags", classes=tuple("abcdefgh")),
    Edges(name="edges"),
    tasks.Detection(
        name="boxes", classes=("ant", "bee"), max_boxes=24, num_candidates=32, num_proposals=8,
        max_detections=16,
        num_regions=8, num_sampled_anchors=16, rpn_channels=4, rpn_convs=1, box_region=3,
        box_channels=4, box_convs=1, box_units=8, mask_region=7, mask_channels=4, mask_convs=1,
    ),
]  # fmt: skip

SIZE = (64, 64)
WHOLE = np.array([0, 0, *SIZE], "float32")
NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
STRIDES = {"P2": 4} | {f"C{i}": 2**i for i in range(2, 6)} | {f"P{i}": 2**i for i in range(3, 8)}
VIEWS = {
    "whole": letterbox(tf.constant([64, 64]), SIZE),
    "padded": letterbox(tf.constant([30, 64]), SIZE),
    "mirrored": View(matrix=tf.constant([[1 / 64, 0, 0], [0, -1 / 64, 1.0]]), size=SIZE),
    "cropped": View(matrix=tf.constant([[1 / 100, 0, 0.3], [0, 1 / 100, 0.2]]), size=SIZE),
}


def features(task: Task, num_images: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    levels = {
        name: random.normal(
            size=(num_images, *(math.ceil(side / STRIDES[name]) for side in SIZE), 6)
        ).astype("float32")
        for name in task.head.features
    }
    return levels | {"area": np.tile(WHOLE, (num_images, 1))}


def stacked(labels: list[dict]) -> dict[str, np.ndarray]:
    return {key: np.stack([np.asarray(label[key]) for label in labels]) for key in labels[0]}


def numpy(parts) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in parts.items()}


def one(batch: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    return {key: value[index] for key, value in batch.items()}


def assert_fits(value, spec: Spec, name: str) -> None:
    if spec.dtype == "bytes":
        values = [value] if not spec.shape else value
        assert all(isinstance(one, bytes) for one in values), name
        return
    value = np.asarray(value)
    assert str(value.dtype) == spec.dtype, name
    assert len(value.shape) == len(spec.shape), name
    assert all(e in (None, s) for e, s in zip(spec.shape, value.shape, strict=True)), name


class Subject:
    """A task, a head with random weights, and labels made of its predictions."""

    def __init__(self, task: Task):
        keras.utils.set_random_seed(1)
        self.task = task
        self.head = task.head.build(SIZE, NORM)
        prediction = self.head(features(task, 2), training=False)
        self.outputs = numpy(task.predictions.decode(prediction, self.head, SIZE))
        self.records = [
            task.records.from_prediction(one(self.outputs, i), WHOLE, SIZE) for i in range(2)
        ]
        self.stored = [task.records.to_label(record, None) for record in self.records]

    def label(self, *views: str) -> dict[str, np.ndarray]:
        """A batch: the first image's label through each view; "missing" for none at all."""
        return stacked(
            [
                self.task.labels.warp(tensors(self.task.labels.missing()), VIEWS["whole"])
                if view == "missing"
                else self.task.labels.warp(tensors(self.stored[0]), VIEWS[view])
                for view in views
            ]
        )

    def loss(self, label: dict[str, np.ndarray], seed: int = 0):
        """(loss, gradients of everything that can have one)."""
        num_images = len(next(iter(label.values())))
        x = {
            key: tf.constant(value) for key, value in features(self.task, num_images, seed).items()
        }
        keys = tf.range(num_images, dtype=tf.int32)
        watched = [value for key, value in x.items() if key != "area"]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            loss = self.task.head.loss(label, self.head(x, training=False), self.head, keys)
        gradients = tape.gradient(loss, watched + [v.value for v in self.head.trainable_variables])
        return np.asarray(loss), [tf.convert_to_tensor(g) for g in gradients if g is not None]


@pytest.mark.parametrize("task", INSTANCES, ids=lambda t: t.name)
def test_what_a_label_teaches_are_outputs(task):
    subject = Subject(task)
    assert task.labels.teachable and set(task.labels.teachable) <= set(subject.outputs)
    assert task.labels.taught_by(task.labels.missing()) == ()
    # A label that weighs anything teaches the first of them.
    weight = np.asarray(task.labels.weight(subject.label("whole")))
    assert (task.labels.teachable[0] in task.labels.taught_by(subject.stored[0])) == bool(
        weight[0] > 0
    )
    assert set(task.labels.taught_by(subject.stored[0])) <= set(task.labels.teachable)


def tensors(stored: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {key: tf.constant(value) for key, value in stored.items()}


@pytest.fixture(scope="module", params=INSTANCES, ids=lambda task: task.name)
def subject(request) -> Subject:
    return Subject(request.param)


def test_stored_labels_and_records_are_as_specified(subject):
    task = subject.task
    for stored in (task.labels.missing(), *subject.stored):
        assert stored.keys() == task.labels.stored_spec().keys()
        for key, spec in task.labels.stored_spec().items():
            assert_fits(stored[key], spec, key)
    for record in subject.records:
        assert record.keys() == task.records.spec().keys()
        for key, spec in task.records.spec().items():
            assert_fits(record[key], spec, key)


@pytest.mark.parametrize("view", [*VIEWS, "missing"])
def test_labels_are_as_specified(subject, view):
    label = subject.label(view)
    spec = subject.task.labels.spec(SIZE)
    assert label.keys() == spec.keys()
    for key, part in spec.items():
        assert None not in part.shape
        assert_fits(label[key][0], part, key)
        assert label[key].dtype.kind != "f" or np.isfinite(label[key]).all()


@pytest.mark.parametrize("view", ["padded", "mirrored"])
def test_warping_inside_tf_data_is_warping(subject, view):
    task = subject.task
    signature = {
        key: tf.TensorSpec(spec.shape, spec.dtype)
        for key, spec in task.labels.stored_spec().items()
    }
    both = [subject.stored[0], task.labels.missing()]
    dataset = tf.data.Dataset.from_generator(lambda: iter(both), output_signature=signature)
    found = list(dataset.map(lambda stored: task.labels.warp(stored, VIEWS[view])))
    for stored, label in zip(both, found, strict=True):
        for key, value in task.labels.warp(tensors(stored), VIEWS[view]).items():
            np.testing.assert_allclose(label[key], value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_a_missing_label_has_no_weight_no_loss_and_no_gradient(subject):
    label = subject.label("missing", "missing")
    weight = np.asarray(subject.task.labels.weight(label))
    np.testing.assert_array_equal(weight, [0, 0])
    loss, gradients = subject.loss(label)
    np.testing.assert_array_equal(loss, [0, 0])
    assert all(not np.any(gradient) for gradient in gradients)


def test_partly_missing_labels_have_finite_losses_and_gradients(subject):
    views = ("whole", "missing", "padded", "cropped", "mirrored")
    label = subject.label(*views)
    weight = np.asarray(subject.task.labels.weight(label))
    assert weight.shape == (5,) and weight.dtype == np.float32
    np.testing.assert_array_equal(weight > 0, [True, False, True, True, True])
    loss, gradients = subject.loss(label, seed=3)
    assert loss.shape == (5,) and loss.dtype == np.float32
    assert np.isfinite(loss).all() and loss[1] == 0 and loss[0] > 0
    assert gradients and all(np.isfinite(gradient).all() for gradient in gradients)
    assert any(np.any(gradient) for gradient in gradients)


def test_an_images_loss_is_its_own(subject):
    whole = subject.label("padded", "whole")
    together, _ = subject.loss(whole)
    others, _ = subject.loss(subject.label("padded", "missing"))
    np.testing.assert_allclose(together[0], others[0], rtol=1e-4)


def test_a_loss_in_a_graph_is_the_same(subject):
    task, head = subject.task, subject.head
    label, x = subject.label("whole", "padded"), features(subject.task, 2)

    @tf.function(autograph=False)
    def graph(label, x):
        keys = tf.range(2, dtype=tf.int32)
        return task.head.loss(label, head(x, training=False), head, keys), task.labels.weight(label)

    loss, weight = graph(tensors(label), tensors(x))
    np.testing.assert_allclose(loss, subject.loss(label)[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(weight, task.labels.weight(label))


def test_outputs_have_the_labels_units_and_keys(subject):
    label = subject.label("whole")
    shared = subject.outputs.keys() & label.keys()
    assert shared
    for key in shared:
        assert len(subject.outputs[key].shape) == len(label[key].shape), key
    for key, value in subject.outputs.items():
        assert len(value) == 2 and np.isfinite(value).all(), key
        assert value.dtype in (np.float32, np.int32, np.uint8), key


def test_maps_come_in_the_size_that_is_asked_for(subject):
    task, head = subject.task, subject.head
    prediction = head(features(task, 2), training=False)
    for key, value in task.predictions.decode(prediction, head, (16, 32)).items():
        expected = subject.outputs[key].shape
        if expected[1:3] == SIZE:
            expected = (2, 16, 32, *expected[3:])
        assert tuple(value.shape) == expected, key


def test_a_record_keeps_the_prediction(subject):
    task, evaluator = subject.task, subject.task.metrics.evaluator()
    labels = [task.labels.warp(tensors(stored), VIEWS["whole"]) for stored in subject.stored]
    evaluator.update(stacked(labels), subject.outputs)
    headline = evaluator.metrics[0]
    best = headline.range[1] if headline.better == "higher" else headline.range[0]
    assert abs(evaluator.result()[headline.name] - best) < 0.02


def test_a_stored_label_can_be_stored_again(subject):
    task = subject.task
    for stored in subject.stored:
        again = task.records.from_label(stored)
        assert again.keys() == task.records.spec().keys()
        for key, spec in task.records.spec().items():
            assert_fits(again[key], spec, key)
        for key, value in task.records.to_label(again, None).items():
            # A step of 8 bits of a normal.
            np.testing.assert_allclose(value, stored[key], atol=0.01, err_msg=key)


def test_half_a_picture_of_padding_is_cut_off(subject):
    area = np.array([0, 0, 32, 64], "float32")
    task = subject.task
    stored = task.records.to_label(
        task.records.from_prediction(one(subject.outputs, 0), area, SIZE), None
    )
    for key, spec in task.labels.stored_spec().items():
        if spec.shape.count(None) == 2:  # a map; a list of anything has one or three
            assert stored[key].shape[:2] == (32, 64)


def test_the_same_outputs_give_the_same_record(subject):
    again = subject.task.records.from_prediction(one(subject.outputs, 0), WHOLE, SIZE)
    for key, value in subject.records[0].items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(again[key]))


def test_metrics_leave_missing_labels_out(subject):
    task = subject.task
    label = subject.label("whole", "missing")
    alone, both, nothing = (
        task.metrics.evaluator(),
        task.metrics.evaluator(),
        task.metrics.evaluator(),
    )
    alone.update(
        {k: v[:1] for k, v in label.items()}, {k: v[:1] for k, v in subject.outputs.items()}
    )
    both.update(label, subject.outputs)
    nothing.update(subject.label("missing", "missing"), subject.outputs)
    for name, value in alone.result().items():
        np.testing.assert_allclose(both.result()[name], value, err_msg=name)
    assert nothing.result().keys() == alone.result().keys()
    assert np.isnan(list(nothing.result().values())).all()
    assert np.isnan(list(task.metrics.evaluator().result().values())).all()


def test_an_image_disagrees_with_its_label_where_it_has_one(subject):
    task, label = subject.task, subject.label("mirrored", "missing")
    found, missing = task.metrics.disagreements(label, subject.outputs)
    assert missing is None and found.text and 0 <= found.amount < math.inf
    evaluator, classes = task.metrics.evaluator(), task.labels.classes
    without_images = evaluator.details(classes, size=64)
    evaluator.update(label, subject.outputs)
    for details in (without_images, evaluator.details(classes, size=64)):
        assert set(details.by_class) in (set(), set(classes))
        assert details.confusion.keys() <= {*classes, BACKGROUND}


def test_the_trivial_baseline_is_scored_like_a_prediction(subject):
    task = subject.task
    label = subject.label("whole", "missing", "cropped")
    baseline, evaluator = task.metrics.trivial_baseline(), task.metrics.evaluator()
    baseline.update(label)
    predicted = baseline.predict(3)
    for key, value in predicted.items():
        assert len(value) == 3 and np.asarray(value).dtype == subject.outputs[key].dtype, key
    evaluator.update(label, predicted)
    assert evaluator.result().keys() == task.metrics.evaluator().result().keys()
    assert np.isfinite(next(iter(evaluator.result().values())))


def test_quality_compares_two_labels(subject):
    quality = subject.task.metrics.quality()
    quality.update(subject.label("whole", "missing"), subject.label("whole", "whole"))
    quality.update(subject.label("whole"), subject.label("missing"))
    assert quality.result() and all(isinstance(v, float) for v in quality.result().values())
    assert np.isfinite(next(iter(quality.result().values())))


def test_every_prediction_is_typed_for_users(subject):
    typed = subject.task.predictions.typed(one(subject.outputs, 1), SIZE)
    named = set(subject.outputs) - {"masks"}  # Pasted into the image when they are read.
    assert named <= set(vars(typed)), vars(typed).keys()


def test_every_label_and_prediction_has_a_picture(subject):
    image = np.full((*SIZE, 3), 90, np.uint8)
    pictures = [
        subject.task.visualization.visualize(image, shown)
        for shown in (
            one(subject.label("whole"), 0),
            one(subject.label("missing"), 0),
            one(subject.outputs, 1),
        )
    ]
    for picture in pictures:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
    labeled, missing, _ = pictures
    # A label leaves marks that a missing one does not.
    assert labeled.shape == missing.shape and (labeled != missing).any()


def test_a_legend_is_of_what_a_picture_shows(subject):
    seen, nothing = subject.task.visualization, one(subject.label("missing"), 0)
    for shown in (one(subject.label("whole"), 0), nothing, one(subject.outputs, 1)):
        assert set(seen.swatches(shown)) <= set(seen.swatches())
        bar = seen.color_bar(shown)
        assert bar is None or (bar.colors.dtype == np.uint8 and len(bar.ticks) == 3)
    assert seen.color_bar(nothing) is None, "nothing has no scale"


def test_a_sketch_has_forms_that_a_page_can_show(subject):
    for record in subject.records:
        sketch = subject.task.records.sketch(record)
        assert sketch.certainty is None or 0.0 <= sketch.certainty <= 1.0
        if sketch.answers is not None:
            assert (np.diff(sketch.answers.probabilities) <= 0).all()
        if sketch.regions is not None:
            parts = sketch.regions
            assert len(parts.boxes) == len(parts.scores) == len(parts.classes) == len(parts.masks)
        if sketch.pixels is not None:
            assert sketch.pixels.classes.shape == sketch.pixels.confidence.shape
            assert sketch.pixels.confidence.dtype == sketch.pixels.classes.dtype == np.uint8
        if sketch.surface is not None:
            assert sketch.surface.ndim == 2 and sketch.surface.dtype == np.float32


def test_a_task_goes_through_json(subject):
    task = subject.task
    config = json.loads(json.dumps(task.get_config()))
    assert type(task).from_config(config) == task
    text = json.dumps(keras.saving.serialize_keras_object(task))
    assert keras.saving.deserialize_keras_object(json.loads(text)) == task
    assert hash(type(task).from_config(config)) == hash(task)


def test_the_head_is_a_layer_that_can_be_saved(subject):
    task = subject.task
    assert subject.head.name == task.name
    assert task.head.features and set(task.head.features) <= STRIDES.keys()
    config = keras.saving.serialize_keras_object(subject.head)
    other = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    x = features(task, 2)
    other(x, training=False)
    other.set_weights(subject.head.get_weights())
    predicted = task.predictions.decode(other(x, training=False), other, SIZE)
    for key, value in subject.outputs.items():
        np.testing.assert_allclose(predicted[key], value, rtol=1e-4, atol=1e-4, err_msg=key)


def test_a_task_has_a_kind_a_unit_and_a_floor(subject):
    task = subject.task
    assert task.kind and isinstance(task.unit, str) and 0.0 <= task.records.floor < 1.0


def test_a_task_that_takes_thresholds_scores_its_predictions(subject):
    task, label = subject.task, subject.label("whole", "missing")
    if not task.records.takes_threshold:
        with pytest.raises(UserError, match="no threshold"):
            task.records.check_threshold(1.0)
        return
    num_classes = len(task.classes)
    task.records.check_threshold(1.0)
    task.records.check_threshold((1.0,) * (num_classes - 1) + (DROPPED,))
    found = task.metrics.scored_predictions(label, subject.outputs)
    assert len(found.scores) == len(found.classes) == len(found.correct) > 0
    assert found.scores.min() >= 0.0 and found.scores.max() <= 1.0
    assert set(found.classes.tolist()) <= set(range(num_classes))
    # The label is made of the prediction, of which tags may be unlikely ones.
    assert (
        found.correct[found.scores >= np.median(found.scores)].mean() > 0.9
        and found.num_true.shape == (num_classes,)
        and found.num_true.any()
    )
    # A class that is dropped is in no label.
    dropped = task.records.to_label(subject.records[0], (DROPPED,) * num_classes)
    assert not task.labels.count_classes(dropped).any()
