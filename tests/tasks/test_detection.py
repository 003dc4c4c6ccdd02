import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.tasks.detection import Detection

SIZE = 64
NORM = {"momentum": 0.9, "epsilon": 1e-4}
TASK = Detection(
    name="objects",
    classes=("cat", "dog", "owl"),
    max_boxes=4,
    max_stored=10,
    anchor_scales=(2.0,),
    rpn_channels=16,
    num_sampled_anchors=32,
    num_candidates=48,
    num_proposals=16,
    num_regions=12,
    box_region=5,
    box_channels=16,
    box_convs=2,
    box_units=32,
    mask_region=7,
    mask_channels=16,
    mask_convs=2,
    num_mask_regions=3,
    max_detections=10,
)


def build(task=TASK, size=SIZE, seed=0):
    """A stub of a network: a few strided convolutions and the head."""
    keras.utils.set_random_seed(seed)
    image, area = keras.Input((size, size, 3), name="image"), keras.Input((4,), name="area")
    x, features = image / 255.0, {}
    for i in range(1, 8):
        x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
        features[f"P{i}"] = keras.layers.Conv2D(16, 3, padding="same")(x)
    head = task.head.build((size, size), NORM)
    outputs = head({level: features[level] for level in task.head.features} | {"area": area})
    return keras.Model({"image": image, "area": area}, outputs), head


def batch(images=6, seed=0):
    """Bright rectangles on a dark ground, one color a class; the last image has none."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 40, (images, SIZE, SIZE, 3)).astype(np.float32)
    label = {
        "boxes": np.zeros((images, 4, 4), np.float32),
        "classes": np.full((images, 4), -1, np.int32),
        "masks": np.zeros((images, 4, 28, 28), np.uint8),
        "has_mask": np.zeros((images, 4), bool),
        "ignore": np.zeros((images, 4), bool),
        "labelled": np.ones(images, np.float32),
        "truncated_boxes": np.zeros((images, 4, 4), np.float32),
    }
    for i in range(images - 1):
        for j in range(2):
            top, left = rng.integers(0, 36), 32 * j + rng.integers(0, 8)
            height, width = rng.integers(14, 26), rng.integers(14, 24)
            category = int(rng.integers(3))
            image[i, top : top + height, left : left + width, category] = 220
            label["boxes"][i, j] = top, left, top + height, left + width
            label["classes"][i, j], label["has_mask"][i, j] = category, True
            # The upper half of each object is its mask.
            label["masks"][i, j, :14] = 1
    x = {"image": image, "area": np.tile(np.float32([0, 0, SIZE, SIZE]), (images, 1))}
    return tensors(x), tensors(label)


def tensors(values):
    return {key: tf.constant(value) for key, value in values.items()}


def losses_and_gradients(model, head, x, label, task=TASK, rows=slice(None)):
    keys = tf.range(len(x["image"]))
    with tf.GradientTape() as tape:
        found = task.head.loss(label, model(x, training=True), head, keys)
        total = tf.reduce_sum(found[rows])
    variables = model.trainable_variables
    gradients = tape.gradient(total, [v.value for v in variables])
    zipped = zip(variables, gradients, strict=True)
    return found.numpy(), {v.path: tf.convert_to_tensor(g).numpy() for v, g in zipped}


@pytest.fixture(scope="module")
def network():
    return build()


def test_config_brings_the_task_back_through_json():
    config = json.loads(json.dumps(TASK.get_config()))
    assert Detection.from_config(config) == TASK
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(TASK))
    assert again == TASK


@pytest.mark.parametrize(
    "wrong", [{"num_regions": 0}, {"foreground_share": 0.0}, {"num_proposals": 49}]
)
def test_impossible_values_are_errors_that_name_the_field(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Detection(name="objects", classes=("cat", "dog"), **wrong)


def test_classes_must_be_distinct():
    with pytest.raises(UserError, match="distinct"):
        Detection(name="objects", classes=("cat", "cat"))


def test_default_anchors_and_levels_follow_the_size():
    task = Detection(name="objects", classes=("cat",))
    assert task.head.scales((640, 640)) == (3.0,)
    assert task.head.scales((192, 256)) == pytest.approx((1.2,))
    assert task.head.scales((64, 64)) == (1.0,)


def test_every_variable_is_built_with_the_head_and_gets_a_gradient(network):
    model, head = network
    number = len(model.variables)
    found, gradients = losses_and_gradients(model, head, *batch())
    assert len(model.variables) == number
    assert (found > 0).all() and np.isfinite(found).all()
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all(), path
        # No anchor of the two coarsest levels needs to be among those that were sampled.
        assert gradient.any() or not path.startswith("objects/") or "P6" in path or "P7" in path


def test_unlabeled_images_have_no_loss_and_no_gradient(network):
    model, head = network
    x, label = batch()
    label["labelled"] = tf.constant([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    found, gradients = losses_and_gradients(model, head, x, label)
    assert (found > 0).tolist() == [False, True, False, True, True, True]
    assert all(np.isfinite(g).all() for g in gradients.values())
    label["labelled"] = tf.zeros(6)
    found, gradients = losses_and_gradients(model, head, x, label)
    assert (found == 0).all()
    assert not any(g.any() for g in gradients.values())


@pytest.mark.parametrize("case", ["no box", "all ignored", "no mask", "zero area", "partly"])
def test_strange_labels_give_finite_losses_and_gradients(network, case):
    model, head = network
    x, label = batch()
    if case == "no box":
        label["classes"] = tf.fill((6, 4), -1)
    elif case == "all ignored":
        label["ignore"] = label["classes"] >= 0
    elif case == "no mask":
        label["has_mask"] = tf.zeros((6, 4), tf.bool)
    elif case == "zero area":
        label["boxes"] = tf.tile(label["boxes"][..., :2], (1, 1, 2))
    else:
        label["has_mask"] = tf.cast(tf.random.stateless_uniform((6, 4), (0, 1)) < 0.5, tf.bool)
        label["labelled"] = tf.constant([1.0, 0.0] * 3)
    found, gradients = losses_and_gradients(model, head, x, label)
    assert np.isfinite(found).all()
    assert all(np.isfinite(g).all() for g in gradients.values())
    mask_gradient = sum(np.abs(g).sum() for path, g in gradients.items() if "mask_head" in path)
    if case in ("no box", "all ignored", "no mask"):
        assert mask_gradient == 0


def test_a_missing_mask_takes_no_part_in_the_mean_of_the_others(network):
    model, head = network
    x, label = batch()
    changed = dict(label)
    # Masks of the first image's objects are unknown: what they hold must not matter.
    known = label["has_mask"].numpy()
    known[0] = False
    changed["has_mask"] = tf.constant(known)
    first, _ = losses_and_gradients(model, head, x, changed)
    masks = changed["masks"].numpy()
    masks[0] = 1 - masks[0]
    second, _ = losses_and_gradients(model, head, x, changed | {"masks": tf.constant(masks)})
    np.testing.assert_array_equal(first, second)


def test_samples_depend_on_the_keys_alone(network):
    model, head = network
    x, label = batch()
    prediction = model(x, training=False)
    first, same, other = (
        TASK.head.loss(label, prediction, head, tf.constant(keys)).numpy()
        for keys in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7])
    )
    np.testing.assert_array_equal(first, same)
    np.testing.assert_allclose(first[:5], other[:5], rtol=1e-5)
    assert first[5] != other[5]


def test_box_head_and_mask_head_run_once_in_a_loss_and_once_in_outputs(network, monkeypatch):
    model, head = network
    x, label = batch()
    calls = []
    for part in (head.box_head, head.mask_head):
        original = part.call

        def call(*args, name=part.name, original=original, **kwargs):
            calls.append((name, kwargs["training"]))
            return original(*args, **kwargs)

        monkeypatch.setattr(part, "call", call)
    TASK.head.loss(label, model(x, training=True), head, tf.range(6))
    assert calls == [("box_head", True), ("mask_head", True)]
    calls.clear()
    prediction = model(x, training=False)
    TASK.head.loss(label, prediction, head, tf.range(6))
    assert calls == [("box_head", False), ("mask_head", False)]
    calls.clear()
    TASK.predictions.decode(prediction, head, (SIZE, SIZE))
    assert calls == [("box_head", False), ("mask_head", False)]


def test_the_mask_head_works_for_objects_alone(network, monkeypatch):
    model, head = network
    x, _ = batch()
    prediction = model(x, training=False)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (6, 9, 2))
    boxes = tf.constant(np.concatenate([corner, corner + 20], axis=-1), tf.float32)
    classes = tf.constant(rng.integers(0, 3, (6, 9)), tf.int32)
    seen = []
    original = head.mask_head.call

    def call(regions, *args, **kwargs):
        seen.append(len(regions))
        return original(regions, *args, **kwargs)

    monkeypatch.setattr(head.mask_head, "call", call)
    exists = np.arange(9) < np.array([0, 1, 4, 5, 9, 0])[:, None]
    some, every = (
        head.segment(prediction, boxes, classes, mask, level_unit=30.0, training=False).numpy()
        for mask in (exists, np.ones_like(exists))
    )
    # Fours of each image, at least one and at most all nine.
    assert seen == [4 + 4 + 4 + 8 + 9 + 4, 54]
    assert some.shape == every.shape == (6, 9, 14, 14)
    np.testing.assert_allclose(some[exists], every[exists], rtol=1e-4, atol=1e-5)
    assert np.isfinite(some).all()


def test_an_evaluation_changes_no_running_average(network):
    model, head = network
    x, label = batch()
    before = [v.numpy() for v in model.non_trainable_variables]
    TASK.head.loss(label, model(x, training=False), head, tf.range(6))
    TASK.predictions.decode(model(x, training=False), head, (SIZE, SIZE))
    for a, b in zip(before, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_outputs_have_their_shapes_and_stay_in_the_area(network):
    model, head = network
    x, _ = batch()
    x["area"] = tf.constant(np.tile(np.float32([0, 0, 40, 50]), (6, 1)))
    # A cold network is sure of nothing: a floor of almost zero shows its boxes.
    task = Detection.from_config(TASK.get_config() | {"score_floor": 1e-6})
    # As in an exported model: any number of images.
    shapes = {key: tf.TensorSpec((None, *value.shape[1:]), value.dtype) for key, value in x.items()}
    step = tf.function(
        lambda x: task.predictions.decode(model(x, training=False), head, (SIZE, SIZE)),
        input_signature=[shapes],
        autograph=False,
    )
    outputs = {k: v.numpy() for k, v in step(x).items()}
    assert {k: v.shape for k, v in outputs.items()} == {
        "boxes": (6, 10, 4),
        "scores": (6, 10),
        "classes": (6, 10),
        "masks": (6, 10, 14, 14),
    }
    assert outputs["classes"].dtype == np.int32 and outputs["masks"].dtype == np.float32
    assert (outputs["boxes"] >= 0).all()
    assert outputs["boxes"].reshape(-1, 4).max(axis=0).tolist() <= [40, 50, 40, 50]
    assert (np.diff(outputs["scores"], axis=1) <= 0).all()
    assert ((outputs["classes"] >= 0) == (outputs["scores"] > 0)).all()
    assert (outputs["classes"] >= 0).any()


def test_a_saved_model_predicts_the_same(network, tmp_path):
    model, head = network
    x, label = batch()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    other = again.get_layer("objects")
    assert isinstance(other, type(head)) and other is not head
    for a, b in zip(head.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [
        TASK.head.loss(label, m(x, training=False), h, tf.range(6)).numpy()
        for m, h in ((model, head), (again, other))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_without_masks_there_is_no_mask_head():
    task = Detection.from_config(TASK.get_config() | {"with_masks": False})
    model, head = build(task)
    x, label = batch()
    label["masks"] = tf.zeros((6, 4, 1, 1), tf.uint8)
    assert head.mask_head is None
    prediction = model(x, training=True)
    assert np.isfinite(task.head.loss(label, prediction, head, tf.range(6)).numpy()).all()
    assert "masks" not in task.predictions.decode(prediction, head, (SIZE, SIZE))


@pytest.mark.slow
def test_one_small_batch_is_learned_by_heart():
    model, head = build(seed=1)
    x, label = batch()
    optimizer = keras.optimizers.AdamW(4e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step(keys):
        with tf.GradientTape() as tape:
            found = TASK.head.loss(label, model(x, training=True), head, keys)
            total = tf.reduce_mean(found)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(total, [v.value for v in variables]), variables)
        return total

    first = float(step(tf.range(6)))
    for i in range(1, 160):
        last = float(step(tf.range(6) + 6 * i))
    assert last < 0.5 * first
    evaluator = TASK.metrics.evaluator()
    outputs = TASK.predictions.decode(model(x, training=False), head, (SIZE, SIZE))
    evaluator.update(
        {k: v.numpy() for k, v in label.items()}, {k: v.numpy() for k, v in outputs.items()}
    )
    metrics = evaluator.result()
    assert metrics["box_ap50"] > 0.8, metrics
    assert metrics["mask_ap"] > 0.4, metrics
