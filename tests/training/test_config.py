import pytest

from must_keras.errors import UserError
from must_keras.training.config import TrainingConfig, averaging_momentum
from must_keras.training.optimizers import AdamW


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(1, 0.0), (2, 0.0), (4, 0.0), (10, 0.0), (20, 0.5), (100, 0.9)]
)
@pytest.mark.parametrize("limit", [0.997, 0.9999])
def test_the_momentum_of_a_short_run(num_steps, expected, limit):
    assert averaging_momentum(num_steps, limit) == pytest.approx(expected)


def test_the_momentum_of_a_long_run_is_the_limit():
    assert averaging_momentum(10**6, 0.997) == 0.997
    assert averaging_momentum(10**6, 0.9999) == 0.9999


@pytest.mark.parametrize("num_steps", [11, 50, 300, 3000])
def test_the_initial_value_is_forgotten(num_steps):
    assert averaging_momentum(num_steps, 0.9999) ** num_steps < 1e-4


@pytest.mark.parametrize(
    ("epochs", "num_images", "batch", "steps"),
    [(3, 900, 16, 169), (2, 6, 4, 3), (0.5, 6, 4, 1), (0.1, 100, 10, 1), (0.3, 10, 1, 3), (1, 1, 64, 1)],
)  # fmt: skip
def test_steps_are_the_epochs_rounded_up(epochs, num_images, batch, steps):
    found = TrainingConfig(epochs=epochs, batch=batch).for_images(num_images)
    assert (found.steps, found.epochs) == (steps, None)
    assert found == TrainingConfig(steps=steps, batch=batch)
    assert (steps - 1) * batch < epochs * num_images <= steps * batch + 1e-9


def test_steps_stay_whatever_the_images():
    training = TrainingConfig(steps=7)
    assert training.for_images(10**6) is training
    assert TrainingConfig() == TrainingConfig(steps=1000)
    assert TrainingConfig().describe() == {
        "steps": 1000, "batch": 16, "learning_rate": 1e-3, "optimizer": AdamW(),
    }  # fmt: skip
    assert "steps" not in TrainingConfig(epochs=2).describe()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 5, "epochs": 2}, "epochs=2: there are 5 steps, too: give one of them"),
        ({"epochs": 0}, "epochs=0: expected a number above 0"),
        ({"epochs": float("nan")}, "epochs=nan: expected a number above 0"),
        ({"epochs": "two"}, "epochs is a str, expected a number"),
        ({"steps": -1}, "steps must be 0 or more"),
    ],
)
def test_lengths_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        TrainingConfig(**values)


def test_what_depends_on_the_steps_asks_for_them():
    training = TrainingConfig(epochs=2)
    for find in (training.norm, lambda: training.images_seen):
        with pytest.raises(UserError, match=r"epochs=2: .* not known .* call for_images"):
            find()
