import math

import keras
import numpy as np

from must_keras.training.optimizers import SGD, AdamW, WarmupCosine, reset


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
