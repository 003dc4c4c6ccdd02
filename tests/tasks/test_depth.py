import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from fakes.few_layers import NETWORK
from must_keras.errors import UserError
from must_keras.ops import maps
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks.depth import Depth, to_relative
from must_keras.tasks.summaries import Framing
from must_keras.training.building import build_model

METRIC = Depth(name="depth", kind="metric", loss_stride=1)
RELATIVE = Depth(name="depth", kind="relative_inverse", loss_stride=1)


def depths(seed: int = 0, shape: tuple[int, ...] = (3, 16, 16)) -> np.ndarray:
    """1 to 15 m with every kind of invalid pixel; the last image has none that is valid."""
    random = np.random.default_rng(seed)
    depth = np.exp(random.uniform(0, np.log(15), shape))
    kind = random.uniform(size=shape)
    for value, low in ((0.0, 0.0), (np.nan, 0.1), (np.inf, 0.15), (-1.0, 0.2)):
        depth[(kind >= low) & (kind < low + 0.05)] = value
    depth[-1] = 0.0
    return depth.astype("float32")


def known(depth: np.ndarray) -> np.ndarray:
    return np.isfinite(depth) & (depth > 0)


def values(seed: int = 5, shape: tuple[int, ...] = (3, 16, 16, 1)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def loss_and_gradient(task: Depth, label: np.ndarray, prediction: np.ndarray):
    variable = tf.Variable(prediction)
    with tf.GradientTape() as tape:
        loss = task.head.loss({"depth": label}, {"values": variable}, None, None)
    return np.asarray(loss), np.asarray(tape.gradient(loss, variable))


# ---- metric depth ---------------------------------------------------------------------------


def test_the_metric_loss_is_the_difference_of_logarithms():
    label, prediction = depths(), values()
    loss, gradient = loss_and_gradient(METRIC, label, prediction)
    expected = np.zeros(3)
    for index in zip(*np.nonzero(known(label)), strict=True):
        expected[index[0]] += abs(prediction[(*index, 0)] - np.log(label[index]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(METRIC.labels.weight({"depth": label}), known(label).sum((1, 2)))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[..., 0] != 0, known(label))


def test_extreme_meters_give_finite_losses():
    label = np.array([[[1e-40, 1e-30], [1e30, 3e38]]], "float32")
    loss, gradient = loss_and_gradient(METRIC, label, np.full((1, 2, 2, 1), 50.0, "float32"))
    assert np.isfinite(loss).all() and np.isfinite(gradient).all()
    predicted = METRIC.predictions.decode(
        {"values": np.array([[[[-500.0], [500.0]]]], "float32")}, None, (1, 2)
    )
    np.testing.assert_allclose(predicted["depth"], [[[1e-3, 1e3]]], rtol=1e-5)


def test_a_fresh_metric_head_predicts_a_few_meters():
    norm = {"momentum": 0.9, "epsilon": 1e-4}
    head = Depth(name="depth", channels=4, num_convs=1).head.build((64, 64), norm)
    features = {"P2": np.zeros((1, 16, 16, 3), "float32"), "area": np.zeros((1, 4), "float32")}
    predicted = METRIC.predictions.decode(head(features), head, (64, 64))["depth"]
    assert predicted.shape == (1, 64, 64)
    np.testing.assert_allclose(predicted, 3.0, atol=0.1)


# ---- relative inverse depth -----------------------------------------------------------------


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x.astype(np.float64))) + 1e-6


def standardized(depth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    median = np.sort(depth[valid])[(valid.sum() - 1) // 2]
    return (depth - median) / np.abs(depth[valid] - median).mean()


def reference_relative(label: np.ndarray, prediction: np.ndarray) -> float:
    """One image, [H, W] each; every step as in the description, in float64."""
    valid = known(label)
    count = valid.sum()
    target = np.where(valid, label, 0).astype(np.float64)
    predicted = np.where(valid, softplus(prediction), 0)
    residual = np.where(valid, standardized(predicted, valid) - standardized(target, valid), 0)
    total = np.abs(residual[valid]).mean() / 2
    for step in (1, 2, 4, 8):
        r, v = residual[::step, ::step], valid[::step, ::step]
        differences = 0.0
        for y in range(r.shape[0]):
            for x in range(r.shape[1]):
                if x + 1 < r.shape[1] and v[y, x] and v[y, x + 1]:
                    differences += abs(r[y, x + 1] - r[y, x])
                if y + 1 < r.shape[0] and v[y, x] and v[y + 1, x]:
                    differences += abs(r[y + 1, x] - r[y, x])
        total += 0.5 * differences / max(v.sum(), 1)
    return total * count


def test_the_relative_loss_equals_the_obvious_one():
    label, prediction = depths(), values()
    loss, gradient = loss_and_gradient(RELATIVE, label, prediction)
    expected = [reference_relative(label[i], prediction[i, :, :, 0]) for i in range(2)]
    np.testing.assert_allclose(loss, [*expected, 0.0], rtol=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], 0.0)
    assert (gradient[:2] != 0).any(axis=(1, 2, 3)).all()


def test_the_relative_loss_is_invariant_to_scale_and_shift_of_the_label():
    label, prediction = depths(), values()
    loss, _ = loss_and_gradient(RELATIVE, label, prediction)
    other, _ = loss_and_gradient(RELATIVE, np.where(known(label), 7 * label + 3, 0), prediction)
    np.testing.assert_allclose(loss, other, rtol=1e-5)


def test_an_affine_prediction_has_no_loss():
    label = depths()[:1]
    predicted = np.where(known(label), 0.1 * label + 0.2, 1.0).astype(np.float64)
    prediction = np.log(np.expm1(predicted))[..., None].astype("float32")
    loss, _ = loss_and_gradient(RELATIVE, label, prediction)
    assert loss[0] / known(label).sum() < 1e-3


def logits_of(predicted: np.ndarray) -> np.ndarray:
    """[1, H, W, 1]: the value of a head whose inverse depth is `predicted` [1, H, W]."""
    return np.log(np.expm1(predicted.astype(np.float64)))[..., None].astype("float32")


@pytest.mark.parametrize("factor", [1e-2, 0.7, 10.0])
def test_only_a_positive_scale_has_no_loss(factor):
    label = depths()[:1]
    inside = np.where(known(label), label, 1.0)
    for slope, low, high in ((1.0, 0.0, 1e-2), (-1.0, 1.0, 9.0)):
        predicted = factor * (slope * inside + 16.5)
        loss, _ = loss_and_gradient(RELATIVE, label, logits_of(predicted))
        # An inverted prediction: |r| has the mean 2, of which half counts, and gradients more.
        assert low <= loss[0] / known(label).sum() < high


@pytest.mark.parametrize("start", ["inverted", "nearly constant"])
def test_the_gradient_leads_out_of(start):
    """Gradient descent on free pixels turns a bad prediction around."""
    label = np.random.default_rng(0).uniform(0.2, 1.0, (1, 16, 16)).astype("float32")
    first = logits_of(1.5 - label) if start == "inverted" else 1e-5 * values(3, (1, 16, 16, 1))
    variable = tf.Variable(first)
    # An almost constant prediction has a steep gradient: as in training, its norm is clipped.
    optimizer = keras.optimizers.Adam(0.03, global_clipnorm=1.0)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = RELATIVE.head.loss({"depth": label}, {"values": variable}, None, None)
        gradient = tape.gradient(loss, variable)
        optimizer.apply([gradient], [variable])
        return loss, gradient

    for _ in range(200):
        loss, gradient = step()
        assert np.isfinite(loss).all() and np.isfinite(gradient).all()
    assert np.corrcoef(np.asarray(variable).ravel(), label.ravel())[0, 1] > 0.5


def test_the_sign_is_right_for_every_seed_through_the_whole_network():
    """Nearness is brightness; half of the networks start inverted, or nearly constant."""
    task = Depth(name="depth", kind="relative_inverse", channels=4, num_convs=1)
    random = np.random.default_rng(0)

    def batch():
        near = random.uniform(0, 1, (8, 4, 4, 1)).repeat(8, 1).repeat(8, 2).astype("float32")
        return tf.constant(near.repeat(3, 3) * 255), tf.constant(0.2 + near[..., 0])

    model = build_model(NETWORK, [task], seed=0, norm={"momentum": 0.9, "epsilon": 1e-4})
    head, optimizer = model.get_layer("depth"), keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    zeros = [np.zeros(v.shape, v.dtype) for v in optimizer.variables]

    @tf.function(reduce_retracing=True, autograph=False)
    def step(image, near):
        with tf.GradientTape() as tape:
            predicted = model(model.without_padding(image), training=True)["depth"]
            loss = tf.reduce_mean(task.head.loss({"depth": near}, predicted, head, None)) / 64.0
        optimizer.apply(tape.gradient(loss, model.trainable_variables))

    found = []
    first = model.get_weights()
    for seed in range(6):
        shuffle = np.random.default_rng(seed).permutation
        model.set_weights([shuffle(w.ravel()).reshape(w.shape) for w in first])
        if seed == 5:
            # A head that begins almost constant.
            head.last.kernel.assign(1e-3 * head.last.kernel)
        for variable, zero in zip(optimizer.variables, zeros, strict=True):
            variable.assign(0.01 if "learning_rate" in variable.path else zero)
        for _ in range(40):
            step(*batch())
        image, near = batch()
        prediction = model(model.without_padding(image), training=True)["depth"]
        predicted = np.asarray(task.predictions.decode(prediction, head, (32, 32))["depth"])
        found.append(np.corrcoef(predicted.ravel(), np.asarray(near).ravel())[0, 1])
    assert min(found) > 0, found


@pytest.mark.parametrize("num_valid", [0, 1, 15, 16])
def test_few_valid_pixels_have_no_weight(num_valid):
    label = np.zeros((1, 16, 16), "float32")
    label.flat[:num_valid] = np.arange(1, num_valid + 1)
    loss, gradient = loss_and_gradient(RELATIVE, label, values(shape=(1, 16, 16, 1)))
    weight = RELATIVE.labels.weight({"depth": label})
    assert (weight[0], bool(loss[0] > 0)) == ((16, True) if num_valid == 16 else (0, False))
    assert np.isfinite(gradient).all() and gradient.any() == (num_valid == 16)


def test_a_flat_label_has_no_weight():
    label = np.full((1, 16, 16), 0.25, "float32")
    loss, gradient = loss_and_gradient(RELATIVE, label, values(shape=(1, 16, 16, 1)))
    assert RELATIVE.labels.weight({"depth": label})[0] == 0 and loss[0] == 0 and not gradient.any()


def test_a_flat_prediction_is_singular_and_has_no_gradient():
    label = depths()[:1]
    loss, gradient = loss_and_gradient(RELATIVE, label, np.zeros((1, 16, 16, 1), "float32"))
    assert loss[0] == 0 and not gradient.any()


@pytest.mark.parametrize("inverted", [False, True])
def test_the_relative_gradient_is_that_of_finite_differences(inverted):
    label, prediction = depths(3)[:1], values(7, (1, 16, 16, 1))
    if inverted:
        prediction -= 3.0 * np.where(known(label), label, 0.0)[..., None]
    _, gradient = loss_and_gradient(RELATIVE, label, prediction)
    direction = np.random.default_rng(0).normal(size=prediction.shape)
    step = 1e-5
    up, down = (
        reference_relative(label[0], (prediction + sign * step * direction)[0, :, :, 0])
        for sign in (1, -1)
    )
    np.testing.assert_allclose((gradient * direction).sum(), (up - down) / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("task", [METRIC, RELATIVE], ids=lambda t: t.kind)
@pytest.mark.parametrize("stride", [2, 4])
def test_the_loss_reads_every_other_pixel(task, stride):
    label = depths(shape=(2, 64, 64))
    coarse = Depth(name="depth", kind=task.kind, loss_stride=stride)
    seen = label[:, stride // 2 :: stride, stride // 2 :: stride]
    prediction = values(shape=(2, 16, 16, 1))
    resized = np.asarray(maps.at_stride(maps.resize(prediction, label.shape[1:]), stride))
    expected, _ = loss_and_gradient(task, seen, resized)
    found, _ = loss_and_gradient(coarse, label, prediction)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(
        coarse.labels.weight({"depth": label}), task.labels.weight({"depth": seen})
    )


# ---- labels ---------------------------------------------------------------------------------


def test_meters_stay_meters_and_invalid_neighbors_take_no_part():
    stored = np.full((8, 8), 4.0, "float32")
    stored[2, 3], stored[5, 1], stored[6, 6] = 0.0, np.nan, -3.0
    view = letterbox(tf.constant([8, 8]), (32, 32))
    depth = np.asarray(METRIC.labels.warp({"depth": tf.constant(stored)}, view)["depth"])
    assert np.unique(np.round(depth, 4)).tolist() == [0.0, 4.0]
    # Each of the three invalid pixels is 4 x 4 of the input.
    assert 3 * 12 <= (depth == 0).sum() <= 3 * 24


def test_a_mirror_and_padding():
    stored = np.arange(1.0, 65.0, dtype="float32").reshape(8, 8)
    mirror = View(matrix=tf.constant([[1 / 8, 0, 0], [0, -1 / 8, 1.0]]), size=(8, 8))
    seen = METRIC.labels.warp({"depth": tf.constant(stored)}, mirror)["depth"]
    np.testing.assert_allclose(seen, stored[:, ::-1], rtol=1e-5)
    padded = METRIC.labels.warp(
        {"depth": tf.constant(stored[:4])}, letterbox(tf.constant([4, 8]), (8, 8))
    )
    np.testing.assert_array_equal(np.asarray(padded["depth"])[4:], 0.0)
    assert (np.asarray(padded["depth"])[:4] > 0).all()


def test_meters_serve_a_relative_head_as_their_inverse():
    meters = np.array([2.0, 0.0, -1.0, np.nan, np.inf, 0.5], "float32")
    np.testing.assert_allclose(to_relative(meters), [0.5, 0, 0, 0, 0, 2])
    assert to_relative(meters).dtype == np.float32


@pytest.mark.parametrize("low_high", [(0.9, 14.0), (1e-3, 1e3), (3.0, 3.0), (1e-6, 1e-5)])
def test_a_record_has_sixteen_bits(low_high):
    depth = np.random.default_rng(0).uniform(*low_high, (16, 20)).astype("float32")
    record = METRIC.records.from_prediction({"depth": depth}, np.array([0, 0, 32, 40]), (32, 40))
    decoded = METRIC.records.to_label(record, None)["depth"]
    assert decoded.dtype == np.float32 and (decoded > 0).all()
    step = (depth.max() - depth.min()) / 65535
    np.testing.assert_allclose(decoded, depth, atol=0.51 * step + 1e-6 * depth.max())


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", [METRIC, RELATIVE])
def test_an_unknown_pixel_of_an_external_model_leaves_the_others_as_they_are(task, unknown):
    depth = np.float32([[2.0, unknown], [4.0, 1.0]])
    record = task.records.from_prediction({"depth": depth}, np.array([0, 0, 2, 2]), (2, 2))
    decoded = task.records.to_label(record, None)["depth"]
    np.testing.assert_allclose(decoded, [[2.0, 0.0], [4.0, 1.0]], atol=4.0 / 65535)
    assert decoded[0, 1] == 0.0


@pytest.mark.parametrize("low", [0.0, -0.5, 1e-6])
def test_a_predicted_depth_may_be_nothing_or_less(low):
    depth = np.float32([[low, 0.2], [1.0, 3.0]])
    record = RELATIVE.records.from_prediction({"depth": depth}, np.array([0, 0, 2, 2]), (2, 2))
    assert record["offset"] == np.float32(low)
    decoded = RELATIVE.records.to_label(record, None)["depth"]
    np.testing.assert_allclose(decoded, depth, atol=0.51 * (3.0 - low) / 65535)
    assert decoded[0, 0] == np.float32(low)


def test_only_the_depth_of_a_label_is_read():
    stored = {"depth": np.ones((2, 2), np.float32), "labelled": np.float32(1)}
    assert METRIC.records.from_label(stored)["offset"] == 1.0


def test_a_threshold_is_an_error():
    record = METRIC.records.from_prediction(
        {"depth": np.ones((2, 2))}, np.array([0, 0, 2, 2]), (2, 2)
    )
    with pytest.raises(UserError, match=r"depth: .* no threshold"):
        METRIC.records.to_label(record, 0.5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_loss_and_outputs_agree_on_where_a_pixel_is(stride):
    # A ramp of x in the centers of the head's cells, 4 pixels wide: 2, 6, ..., 22.
    prediction = {"values": np.tile(0.1 * (4 * np.arange(6.0) + 2), (1, 4, 1))[..., None]}
    prediction["values"] = prediction["values"].astype("float32")
    x = np.arange(24) + 0.5
    inside = (x > 2) & (x < 22)
    label = np.tile(np.where(inside, np.exp(0.1 * x), 0), (1, 16, 1)).astype("float32")
    task = Depth(name="depth", loss_stride=stride)
    assert task.head.loss({"depth": label}, prediction, None, None)[0] < 1e-4
    predicted = np.asarray(task.predictions.decode(prediction, None, (16, 24))["depth"])
    np.testing.assert_allclose(predicted[..., inside], label[..., inside], rtol=1e-5)


def test_a_stride_is_at_least_1_and_divides_the_size():
    with pytest.raises(UserError, match="depth: loss_stride .* received 0"):
        Depth(name="depth", loss_stride=0)
    with pytest.raises(UserError, match="divides 64 x 32 pixels, received 5"):
        Depth(name="depth", loss_stride=5).head.build((64, 32), {})


def test_an_unknown_kind_is_an_error():
    with pytest.raises(UserError, match="received 'inverse'"):
        Depth(name="depth", kind="inverse")


# ---- metrics --------------------------------------------------------------------------------


def test_metric_errors_by_hand():
    evaluator = METRIC.metrics.evaluator()
    label = np.array([[[1.0, 2.0, 4.0, 0.0]], [[2.0, np.nan, np.inf, -1.0]], [[0.0] * 4]])
    predicted = np.array([[[1.2, 1.0, 5.0, 9.0]], [[2.0, 1.0, 1.0, 1.0]], [[1.0] * 4]])
    evaluator.update({"depth": label}, {"depth": predicted})
    found = evaluator.result()
    assert list(found) == ["delta1", "abs_rel", "rmse"]
    # 5 / 4 = 1.25 is not under 1.25. The third image has no label.
    assert found["delta1"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["abs_rel"] == pytest.approx(((0.2 + 0.5 + 0.25) / 3 + 0) / 2)
    assert found["rmse"] == pytest.approx((np.sqrt((0.04 + 1 + 1) / 3) + 0) / 2)


def test_metric_predictions_are_not_aligned_and_relative_ones_are():
    meters = depths(1)
    for task, label in ((METRIC, meters), (RELATIVE, to_relative(meters))):
        evaluator = task.metrics.evaluator()
        predicted = np.where(known(label), 3.0 * np.where(known(label), label, 1) + 1.0, 1.0)
        evaluator.update({"depth": label}, {"depth": predicted})
        delta1 = evaluator.result()["delta1"]
        assert delta1 == (0.0 if task is METRIC else 1.0)


def test_nothing_labeled_is_not_a_number():
    for task in (METRIC, RELATIVE):
        evaluator = task.metrics.evaluator()
        evaluator.update({"depth": np.zeros((2, 4, 4))}, {"depth": np.ones((2, 4, 4))})
        assert np.isnan(list(evaluator.result().values())).all()


def test_the_trivial_baseline_is_each_pixels_mean():
    baseline = METRIC.metrics.trivial_baseline()
    baseline.update({"depth": np.array([[[1.0, 0.0, 4.0]], [[3.0, np.nan, 0.0]]])})
    predicted = baseline.predict(2)["depth"]
    # The second pixel is unknown: the mean of all.
    np.testing.assert_allclose(predicted, [[[2.0, 8 / 3, 4.0]]] * 2, rtol=1e-6)
    assert predicted.dtype == np.float32


def test_near_and_far_have_the_same_colors_in_both_kinds():
    meters = depths(2)[0]
    image = np.zeros((16, 16, 3), np.uint8)
    one = METRIC.visualization.visualize(image, {"depth": meters})
    other = RELATIVE.visualization.visualize(image, {"depth": to_relative(meters)})
    assert one.dtype == np.uint8 and one.shape == (16, 16, 3)
    assert np.abs(one.astype(int) - other).max() <= 1
    assert not one[~known(meters)].any()
    assert not METRIC.visualization.visualize(image, {"depth": np.zeros((16, 16))}).any()


@pytest.mark.parametrize("task", [METRIC, RELATIVE])
def test_what_is_no_depth_is_wrong_and_not_left_out(task):
    # The last two are the nearest and the furthest: neither end of the label's range is right.
    label = np.array([[[1.0, 2.0, 3.0, 1.0, 4.0, 1e-3]]])
    predicted = label if task is METRIC else 1e-4 * label + 1e-5
    for bad in (np.nan, np.inf, 0.0, -1.0):
        spoilt = np.concatenate([predicted[..., :4], np.full((1, 1, 2), bad)], axis=-1)
        evaluator, quality = task.metrics.evaluator(), task.metrics.quality()
        for found in (evaluator, quality):
            found.update({"depth": label}, {"depth": spoilt})
        assert evaluator.result()["delta1"] == pytest.approx(4 / 6)
        assert evaluator.result()["abs_rel"] == pytest.approx(2 / 6)
        assert quality.result()["delta1"] == 1.0
        assert quality.result()["abs_rel"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("task", [METRIC, RELATIVE])
def test_a_prediction_without_any_depth_is_wrong_everywhere(task):
    label = np.array([[[1.0, 2.0], [3.0, 0.0]]])
    evaluator, quality = task.metrics.evaluator(), task.metrics.quality()
    for found in (evaluator, quality):
        found.update({"depth": label}, {"depth": np.full((1, 2, 2), np.nan)})
    assert evaluator.result()["delta1"] == 0.0 and evaluator.result()["abs_rel"] == 1.0
    assert np.isnan(quality.result()["delta1"])


def test_aligned_errors_equal_the_obvious_ones():
    true = np.array([0.05, 0.1, 0.3, 0.5, 0.9, 1.0])
    predicted = np.array([0.2, 1.4, 1.5, 2.0, 2.9, 3.6])
    centered = predicted - predicted.mean()
    scale = (centered * (true - true.mean())).sum() / (centered**2).sum()
    aligned = true.mean() + scale * centered
    assert aligned.min() < 0 and aligned.max() > 1.0  # both ends are clipped
    depth, found = 1 / true, 1 / np.clip(aligned, 0.05, 1.0)
    evaluator = RELATIVE.metrics.evaluator()
    evaluator.update(
        {"depth": np.array([[[*true, 0.0]]])}, {"depth": np.array([[[*predicted, 9.0]]])}
    )
    expected = {
        "delta1": (np.maximum(depth / found, found / depth) < 1.25).mean(),
        "abs_rel": (np.abs(found - depth) / depth).mean(),
        "rmse": np.sqrt(((found - depth) ** 2).mean()),
    }
    expected["correlation"] = np.corrcoef(predicted, true)[0, 1]
    assert evaluator.result() == pytest.approx(expected)
    assert next(iter(evaluator.result())) == "delta1"


def aligned_reference(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Bounded least squares by a solver of others, then the caps."""
    design = np.stack([predicted, np.ones_like(predicted)], axis=1)
    bounds = ([0.0, -np.inf], [np.inf, np.inf])
    fit = optimize.lsq_linear(design, true, bounds=bounds, tol=1e-14)
    return np.clip(design @ fit.x, true.min(), true.max())


@pytest.mark.parametrize("slope", [1.0, 0.05, 0.0, -0.05, -1.0])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_relative_errors_are_those_of_a_bounded_fit(slope, unit):
    random = np.random.default_rng(4)
    true = random.uniform(0.1, 1.0, 200)
    predicted = slope * true + 1.2 + random.normal(scale=0.02, size=200)
    depth = 1 / aligned_reference(true, predicted)
    evaluator = RELATIVE.metrics.evaluator()
    evaluator.update({"depth": true[None, None]}, {"depth": unit * predicted[None, None]})
    found = evaluator.result()
    assert found["rmse"] == pytest.approx(np.sqrt(((depth - 1 / true) ** 2).mean()), rel=1e-4)
    assert found["correlation"] == pytest.approx(np.corrcoef(true, predicted)[0, 1])
    if slope < 0:
        mean = RELATIVE.metrics.evaluator()
        mean.update({"depth": true[None, None]}, {"depth": np.full((1, 1, 200), 3.0)})
        expected = mean.result() | {"correlation": pytest.approx(found["correlation"])}
        assert found == pytest.approx(expected) and mean.result()["correlation"] == 0.0


def test_an_inverted_prediction_is_never_better_than_the_trivial_one():
    random = np.random.default_rng(0)
    label = random.uniform(0.1, 1.0, (4, 12, 12))
    baseline = RELATIVE.metrics.trivial_baseline()
    baseline.update({"depth": label})
    scores = []
    for predicted in (1.5 - label, baseline.predict(4)["depth"], label):
        evaluator = RELATIVE.metrics.evaluator()
        evaluator.update({"depth": label}, {"depth": predicted})
        scores.append(evaluator.result()["delta1"])
    assert scores[0] <= scores[1] < scores[2] == 1.0


@pytest.mark.parametrize("part", ["evaluator", "quality"])
@pytest.mark.parametrize("task", [METRIC, RELATIVE], ids=lambda t: t.kind)
def test_an_inverted_depth_is_reported(task, part):
    label = depths(1)
    upright = np.where(known(label), label, 1.0)
    for predicted, words in ((upright, 0), (1.0 / upright, 1)):
        evaluator = getattr(task.metrics, part)()
        evaluator.update({"depth": label}, {"depth": predicted})
        warnings = evaluator.warnings()
        assert len(warnings) == words
        assert all("inverted" in w and "100% of 2 images" in w for w in warnings)
    if task is RELATIVE:
        assert 'form="meters"' in warnings[0] and "invert the maps" in warnings[0]
        assert -1 <= evaluator.result()["correlation"] < -0.3


def test_a_wrong_unit_of_metric_depth_is_reported():
    label = depths(1)
    for factor, words in ((1.0, 0), (4.0, 0), (1000.0, 1), (1e-3, 1)):
        evaluator = METRIC.metrics.evaluator()
        evaluator.update({"depth": label}, {"depth": factor * np.where(known(label), label, 1.0)})
        assert ["meters" in w for w in evaluator.warnings()] == [True] * words


def test_without_ground_truth_nothing_is_reported():
    for task in (METRIC, RELATIVE):
        evaluator = task.metrics.evaluator()
        evaluator.update({"depth": np.zeros((2, 4, 4))}, {"depth": np.ones((2, 4, 4))})
        # A flat label has no correlation, a flat prediction has none either: 0, and finite.
        evaluator.update({"depth": np.ones((2, 4, 4))}, {"depth": np.ones((2, 4, 4))})
        assert evaluator.warnings() == []


def test_a_relative_label_of_one_value_teaches_nothing():
    framing = Framing((64, 64), 64)
    for value, valid in ((0.0, 0), (3.0, 16), (np.nan, 0)):
        stored = {"depth": np.full((4, 4), value, "float32")}
        assert not RELATIVE.labels.content(stored, framing).usable.any()
        assert METRIC.labels.content(stored, framing).usable.any() == (valid > 0)
    assert RELATIVE.labels.content({"depth": np.arange(16.0).reshape(4, 4)}, framing).usable.any()


def test_one_aligned_pixel_beyond_infinity_does_not_outweigh_the_others():
    random = np.random.default_rng(0)
    true = np.linspace(0.02, 1.0, 400).reshape(1, 20, 20)
    predicted = np.maximum(3.0 * true + 2.0 + random.normal(scale=0.15, size=true.shape), 1e-3)
    evaluator = RELATIVE.metrics.evaluator()
    evaluator.update({"depth": true}, {"depth": predicted})
    # The furthest is 50, so no error can be more than 49 times the nearest depth.
    assert evaluator.result()["abs_rel"] < 1.0 and evaluator.result()["rmse"] < 49
