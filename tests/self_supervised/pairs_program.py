"""A program of the tests: trains SimCLR and MoCo on one device and on two.

python pairs_program.py FOLDER writes FOLDER/<method>-<layout>.npz: each step's losses, the final
weights of the encoder and, of MoCo, the queue.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from fakes.few_layers import NETWORK, Noise, crops
from fakes.random_examples import training
from must_keras import command
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.strategy import make_strategy

RUN = training(3, batch=8, learning_rate=0.05, clip_norm=1.0)


def run(path: pathlib.Path, method) -> None:
    model = method.build(NETWORK, seed=1, num_images=64)
    RUN.compile(model)
    pipeline = InputPipeline(Noise(), (), RUN, size=32, seed=5, make_views=crops)
    losses = []
    logs = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append([logs["loss"], logs["gradient_norm"]])
    )
    model.fit(
        pipeline.batches(), epochs=1, steps_per_epoch=3, verbose=0, callbacks=[logs], shuffle=False
    )
    kept = {"queue": model.queue} if isinstance(method, MoCo) else {}
    weights = {f"weight {i}": w for i, w in enumerate(model.get_weights())}
    np.savez(path, losses=losses, **kept, **weights)


def main(argv: list[str]) -> None:
    for layout in ("one", "mirrored"):
        with make_strategy(layout).scope():
            for method in (SimCLR(training=RUN, dimensions=8), MoCo(training=RUN, dimensions=8)):
                run(pathlib.Path(argv[1]) / f"{method.name}-{layout}.npz", method)


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    command.run(main)
