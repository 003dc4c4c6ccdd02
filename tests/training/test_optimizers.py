import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.training.optimizers import SGD, AdamW, Steps, WarmupCosine, only_where, reset


def slow_rate(step: int, peak: float, num_steps: int, warmup: float) -> float:
    rise = max(math.floor(warmup * num_steps), 1)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(num_steps - rise, 1), 1)))


def test_the_rate_rises_and_falls():
    schedule = WarmupCosine(0.1, 40, warmup=0.1)
    found = [float(schedule(step)) for step in range(42)]
    np.testing.assert_allclose(found, [slow_rate(s, 0.1, 40, 0.1) for s in range(42)], atol=1e-7)
    assert max(found) == np.float32(0.1)


def test_the_rate_falls_in_steps():
    schedule = Steps(at=(0.6, 0.8), factor=0.1).build(0.5, 10, 0.2)
    found = [float(schedule(step)) for step in range(11)]
    wanted = [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005, 0.005]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    again = type(schedule).from_config(schedule.get_config())
    assert [float(again(step)) for step in range(11)] == found
    schedule.restart(1.0, 20)
    assert [float(schedule(step)) for step in (11, 12, 16)] == pytest.approx([1.0, 0.1, 0.01])
    detectron = Steps().build(0.02, 90_000, 0.0)
    rates = [float(detectron(step)) for step in (59_999, 60_000, 79_999, 80_000)]
    assert rates == pytest.approx([0.02, 0.002, 0.002, 0.0002])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"at": (0.8, 0.6)}, "rising shares between 0 and 1"),
        ({"at": (0.5, 1.0)}, "rising shares between 0 and 1"),
        ({"factor": 0.0}, r"factor must be in \(0, 1\], received 0.0"),
    ],
)
def test_steps_that_are_none(values, message):
    with pytest.raises(UserError, match=message):
        Steps(**values)


def test_one_schedule_serves_runs_of_any_length():
    schedule = WarmupCosine(0.1, 40)
    schedule.restart(0.5, 10)
    np.testing.assert_allclose(float(schedule(3)), slow_rate(3, 0.5, 10, 0.05), rtol=1e-5)
    again = WarmupCosine.from_config(schedule.get_config())
    assert float(again(3)) == float(schedule(3))


def test_decay_spares_all_but_kernels():
    for recipe in (AdamW(weight_decay=0.5), SGD(weight_decay=0.5)):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(2, bias_initializer="ones")]
        )
        optimizer = recipe.build(WarmupCosine(1.0, 10))
        optimizer.build(model.trainable_variables)
        before = [v.numpy() for v in model.trainable_variables]
        optimizer.apply([np.zeros_like(v) for v in before], model.trainable_variables)
        kernel, bias = (v.numpy() for v in model.trainable_variables)
        np.testing.assert_allclose(kernel, before[0] * 0.5, rtol=1e-5)
        np.testing.assert_array_equal(bias, before[1])


@pytest.mark.parametrize("recipe", [AdamW(), SGD(), SGD(momentum=0.0)], ids=str)
def test_other_backends_move_weights_alike(recipe, monkeypatch):
    """The steps of keras.ops alone, and TensorFlow's one operation."""
    gradients = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    found = []
    for backend in ("tensorflow", "jax"):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        variable = keras.Variable(np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3))
        optimizer = recipe.build(WarmupCosine(0.1, 8))
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([gradient], [variable])
        found.append(variable.numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - np.linspace(-1, 1, 6).reshape(2, 3)).min() > 1e-3


def test_reset_forgets_momenta_and_steps():
    variable = keras.Variable([1.0, 2.0])
    optimizer = AdamW().build(WarmupCosine(0.1, 10))
    optimizer.build([variable])

    def run() -> np.ndarray:
        variable.assign([1.0, 2.0])
        for _ in range(3):
            optimizer.apply([np.array([0.5, -1.0], "float32")], [variable])
        return variable.numpy()

    first = run()
    assert not np.array_equal(first, run())
    reset(optimizer)
    np.testing.assert_array_equal(first, run())


def test_the_fused_step_is_keras_own():
    schedule = WarmupCosine(0.05, 30, warmup=0.2)
    own = AdamW(weight_decay=0.3).build(schedule)
    reference = keras.optimizers.AdamW(schedule, weight_decay=0.3)
    reference.exclude_from_weight_decay(var_names=["bias"])
    shapes = {"kernel": (3, 4), "bias": (4,)}
    random = np.random.default_rng(0)
    starts = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    sides = [[keras.Variable(v, name=n) for n, v in starts.items()] for _ in range(2)]
    for optimizer, variables in zip((own, reference), sides, strict=True):
        optimizer.build(variables)
    for step in range(30):
        gradients = [
            random.normal(size=s).astype("float32") * 10.0 ** -(step % 9) for s in shapes.values()
        ]
        for optimizer, variables in zip((own, reference), sides, strict=True):
            optimizer.apply(gradients, variables)
    for ours, theirs, start in zip(*sides, starts.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not np.allclose(ours, start)


def test_momentum_gathers_gradients_and_the_rate_multiplies_it():
    """A slow loop in float64; at a constant rate it is Keras' own."""
    rates = [0.1, 0.1, 0.05, 0.2]
    schedule, variable = WarmupCosine(1.0, 4), keras.Variable(np.float32([[1.0, -2.0]]))
    optimizer = SGD(momentum=0.9, weight_decay=0.1).build(schedule)
    optimizer.build([variable])
    value, gathered = np.array([[1.0, -2.0]]), 0.0
    for step, rate in enumerate(rates):
        gradient = np.array([[0.5, step - 1.0]])
        schedule.peak.assign(rate / float(WarmupCosine(1.0, 4)(step)))
        optimizer.apply([gradient.astype("float32")], [variable])
        gathered = 0.9 * gathered + gradient
        value = value * (1 - rate * 0.1) - rate * gathered
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5)


@pytest.mark.parametrize("recipe", [AdamW(weight_decay=0.3), SGD(weight_decay=0.3)])
def test_a_step_can_be_left_out(recipe):
    variable = keras.Variable(np.float32([[1.0, -2.0]]))
    optimizer = recipe.build(WarmupCosine(0.5, 10))
    optimizer.build([variable])
    optimizer.apply([np.float32([[0.3, 0.4]])], [variable])
    before = variable.numpy()
    with only_where(tf.constant(False), optimizer):
        optimizer.apply([np.zeros((1, 2), "float32")], [variable])
    np.testing.assert_array_equal(variable.numpy(), before)
    with only_where(tf.constant(True), optimizer):
        optimizer.apply([np.zeros((1, 2), "float32")], [variable])
    assert not np.array_equal(variable.numpy(), before)


def test_a_fused_optimizer_is_saved_with_its_values():
    config = keras.optimizers.serialize(AdamW(weight_decay=0.3).build(WarmupCosine(0.05, 30)))
    again = keras.optimizers.deserialize(config)
    assert again.kernel_decay == 0.3 and again.get_config()["beta_1"] == 0.9
