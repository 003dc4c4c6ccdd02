"""A program of the tests: one network, its losses, gradients and two steps on one Keras backend.

python backend.py FOLDER, with KERAS_BACKEND=tensorflow first: it makes the weights and the batch,
FOLDER/given.pickle, which KERAS_BACKEND=jax then reads, without TensorFlow. Both write
FOLDER/<backend>.npz, in float64: {"loss <task>", "gradient <place>", "numbers <step>",
"weight <place>" after two steps}.
"""

import pathlib
import pickle
import sys

import keras
import numpy as np

from must_keras.modeling.backbone import ResNet
from must_keras.training.network import Network, connect, losses_over, valid_counts
from must_keras.training.optimizers import SGD, AdamW, Cosine

# Its layers come from keras-cv on TensorFlow, from must_keras on JAX.
NETWORK = Network(backbone=ResNet.small(), size=64, channels=16)
CLIP_NORM, LOSS_WEIGHTS, STEPS, RATE = 5.0, {"far": 0.5}, 2, 0.05
NUMBERS = ("loss", "gradient_norm")


def optimizer(name):
    recipe = SGD(weight_decay=0.01) if name == "sgd" else AdamW()
    return recipe.build(Cosine().build(RATE, 10, 0.05))


def on_tensorflow(folder):
    import tensorflow as tf

    from fakes.random_examples import FOUR, NORM, RandomExamples
    from must_keras.data.augmentation import Augmentation
    from must_keras.data.pipeline import one_view, training_batches
    from must_keras.training.building import build_model

    look = one_view(FOUR, size=NETWORK.size, augmentation=Augmentation())
    examples = training_batches(
        RandomExamples(FOUR), FOUR, make_views=look, batch=4, seed=1, steps=range(1)
    )
    x, y = next(iter(examples))
    model = build_model(
        NETWORK, FOUR, seed=0, norm=NORM, loss_weights=LOSS_WEIGHTS, clip_norm=CLIP_NORM
    )
    weights = model.get_weights()
    given = (NETWORK, FOUR, NORM, tf.nest.map_structure(lambda v: v.numpy(), (x, y)), weights)
    (folder / "given.pickle").write_bytes(pickle.dumps(given))
    with tf.GradientTape() as tape:
        counts = valid_counts(FOUR, y)
        losses = losses_over(model, FOUR, y, model(x, training=True), counts)
        loss = sum(losses.values())
    gradients = tape.gradient(loss, [v.value for v in model.trainable_weights])
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    found = told(losses, gradients)
    for name in ("sgd", "adamw"):
        model.set_weights(weights)
        model.compile(optimizer=optimizer(name), jit_compile=False)
        model.make_train_function(force=True)
        for step in range(STEPS):
            logs = model.train_on_batch(x, y, return_dict=True)
            found[f"{name} numbers {step}"] = [float(logs[key]) for key in NUMBERS]
        found |= {f"{name} weight {i}": w for i, w in enumerate(model.get_weights())}
    return found


def on_jax(folder):
    import jax

    from must_keras.training.jax_step import batch_losses, initial_state, keep, training_step

    network, tasks, norm, (x, y), weights = pickle.loads((folder / "given.pickle").read_bytes())
    model = keras.Model(*connect(network, tasks, norm))
    model.set_weights(weights)

    def total(trainable, state):
        losses, _ = batch_losses(model, tasks, state._replace(trainable=trainable), x, y)
        return sum(losses.values()), losses

    state = initial_state(model, optimizer("sgd"))
    gradients, losses = jax.jit(jax.grad(total, has_aux=True))(state.trainable, state)
    found = told(losses, gradients)
    for name in ("sgd", "adamw"):
        model.set_weights(weights)
        own = optimizer(name)
        step = training_step(model, tasks, own, loss_weights=LOSS_WEIGHTS, clip_norm=CLIP_NORM)
        state = initial_state(model, own)
        for number in range(STEPS):
            state, logs = step(state, x, y)
            found[f"{name} numbers {number}"] = [float(logs[key]) for key in NUMBERS]
        keep(model, state)
        found |= {f"{name} weight {i}": w for i, w in enumerate(model.get_weights())}
        if name == "sgd":
            before = model.get_weights()
            state, logs = step(state, {**x, "image": x["image"] * np.nan}, y)
            keep(model, state)
            trainable = {id(v) for v in model.trainable_variables}
            found["kept"] = [
                np.array_equal(old, new)
                for old, new, v in zip(before, model.get_weights(), model.weights, strict=True)
                if id(v) in trainable
            ]
            found["not finite"] = float(logs["loss"])
    assert "tensorflow" not in sys.modules
    return found


def told(losses, gradients):
    found = {f"loss {name}": np.asarray(value) for name, value in losses.items()}
    return found | {f"gradient {i}": np.asarray(g) for i, g in enumerate(gradients)}


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    backend, place = keras.backend.backend(), pathlib.Path(sys.argv[1])
    np.savez(place / backend, **(on_tensorflow if backend == "tensorflow" else on_jax)(place))
