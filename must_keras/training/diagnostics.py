"""Losses and gradients of a step, head by head: their shares and angles, and what is not finite.

A step that is not finite is kept, and can be computed again (`replay`).
"""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from must_keras.arrays import read_arrays
from must_keras.errors import UserError, damaged
from must_keras.files import replacing, unshare
from must_keras.json_files import read_json, write_json
from must_keras.modeling.loading import load_model
from must_keras.ops.precision import to_full
from must_keras.runs.marks import EVIDENCE
from must_keras.training.fitted import FittedModel
from must_keras.training.layer_calls import StochasticDepth
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, of_kept
from must_keras.training.strategy import sum_over_replicas

LOSS_SHARE, GRADIENT_SHARE, COSINE = "_loss_share", "_gradient_share", "_cosine"
GRADIENT = "the gradient"
_BATCH, _MODEL, _STEP = "batch.npz", "model.keras", "step.json"
_REMEDY = "this step cannot be computed again: delete its folder"


def measure(model: MultiTaskModel, batch: Any) -> dict[str, float]:
    """Measure the heads' losses and gradients on one batch; the model is left as it is.

    Gradients are those of the weighted losses with respect to all kernels of the backbone as one
    vector, of the whole batch, over all replicas and microbatches: one backward pass a head.

    It is not traced: that would take as long as fifty small steps, and measurements are rare.

    Args:
        model: a compiled model.
        batch: as the model's training step takes it.

    Returns:
        {"<head>_loss_share": its share of the weighted loss, "<head>_gradient_share": its share of
        the sum of the gradients' norms, "<head>_<head>_cosine": of the angle between two
        gradients}; not-a-number where a gradient or the whole loss is 0.

    Example:
        measure(model, model.last_batch)["depth_gradient_share"]

    Reference: GradNorm (arXiv 1711.02257), section 3.1, for norms. GradNorm measures the last
    shared layer; here all kernels are measured, because some heads use levels below the pyramid.
    """
    strategy = model.distribute_strategy
    found = strategy.run(functools.partial(_of_replica, model), (batch,))
    # Equal on all replicas.
    return {k: float(strategy.experimental_local_results(v)[0]) for k, v in found.items()}


def _of_replica(model: MultiTaskModel, data: Any) -> dict[str, tf.Tensor]:
    x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
    y = model.training_targets(x, y)
    counts, losses, gradients = model.valid_counts(y), {}, {}
    kernels = [kernel.value for kernel in shared_kernels(model)]
    zeros = tf.UnconnectedGradients.ZERO
    # What a forward pass assigns, such as running averages, is discarded.
    with keras.StatelessScope():
        for index in range(model.accumulate):
            some_x, some_y = model.microbatch((x, y), index)
            with model.sampling(some_y["keys"]):
                with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                    tape.watch(kernels)
                    found = model.losses_over(
                        some_y, model.predictions(some_x, training=True), counts
                    )
                    found = model.weighted_losses(found)
                for name, loss in found.items():
                    parts = tape.gradient(loss, kernels, unconnected_gradients=zeros)
                    gradient = tf.concat([tf.reshape(g, [-1]) for g in parts], axis=0)
                    losses[name] = losses.get(name, 0.0) + loss
                    gradients[name] = gradients.get(name, 0.0) + gradient
            del tape
    losses, gradients = sum_over_replicas((losses, gradients))
    norms = {name: tf.norm(gradient) for name, gradient in gradients.items()}
    numbers = _shares(losses, LOSS_SHARE) | _shares(norms, GRADIENT_SHARE)
    for one, other in itertools.combinations(gradients, 2):
        dot = tf.tensordot(gradients[one], gradients[other], 1)
        numbers[f"{one}_{other}{COSINE}"] = dot / (norms[one] * norms[other])
    return numbers


def shared_kernels(model: FittedModel) -> list[keras.Variable]:
    """Return the trainable kernels of a model's backbone."""
    return [v for v in model.get_layer(BACKBONE).trainable_variables if len(v.shape) > 1]


def _shares(values: Mapping[str, tf.Tensor], ending: str) -> dict[str, tf.Tensor]:
    total = sum(values.values())
    return {f"{name}{ending}": value / total for name, value in values.items()}


# ---- steps that are not finite -------------------------------------------------------------------


class NonFiniteLossError(UserError):
    """Raised where a loss or a gradient is infinite or not a number.

    Example:
        try:
            train(rate)
        except NonFiniteLossError as error:
            print(f"learning rate {rate}: {error}")

    """


def bad_names(logs: Mapping[str, float]) -> list[str]:
    """Return what of a step's numbers is not finite: heads, else "the gradient"."""
    bad = [key for key, value in logs.items() if not math.isfinite(value)]
    heads = sorted(key.removesuffix("_loss") for key in bad if key.endswith("_loss"))
    return heads or ([GRADIENT] if bad else [])


def describe(bad: Sequence[str]) -> str:
    """Return the subject of a sentence on what is not finite."""
    if list(bad) == [GRADIENT] or bad[0].startswith(GRADIENT):
        return " and ".join(bad)
    return f"the loss of {' and '.join(bad)}"


def keep_step(
    folder: pathlib.Path,
    model: FittedModel,
    batch: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    step: int,
    ids: Sequence[str],
    bad: Sequence[str],
) -> pathlib.Path:
    """Write what `replay` reads, and return its folder.

    Args:
        folder: of the artifact that is trained.
        model: with the weights before the step.
        batch: inputs and labels, over all replicas.
        step: number of the optimizer step; the first is 1.
        ids: of the batch's images.
        bad: what is not finite, see `bad_names`.
    """
    kept = folder / f"{EVIDENCE}{step:08d}"
    kept.mkdir(parents=True, exist_ok=True)
    x, y = batch
    arrays = {f"x/{key}": value for key, value in x.items()} | {"keys": y["keys"]}
    targets = model.training_targets(x, y)
    for head, label in targets["labels"].items():
        arrays |= {f"labels/{head}/{key}": value for key, value in label.items()}
    arrays |= {f"kept/{head}": value for head, value in targets.get("kept", {}).items()}
    with replacing(kept / _BATCH) as path, path.open("wb") as file:
        np.savez(file, **{key: np.asarray(value) for key, value in arrays.items()})
    unshare(kept / _MODEL)
    model.replayable().save(kept / _MODEL)
    depth = model.stochastic_depth
    about = {"step": step, "ids": list(ids), "bad": list(bad)}
    write_json(kept / _STEP, about | {"stochastic_depth": depth.rate if depth else 0.0})
    return kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replayed:
    """A kept step that was computed again; its text is a table of images and gradients.

    Attributes:
        step: number of the optimizer step.
        ids: of the images.
        losses: {head: [B]}, each image's term of the sum before it is divided.
        weights: {head: [B]}, each image's number of valid elements.
        gradients: {layer of the network: norm of its gradient}.
        heads: {head: norm of the gradient of its loss alone}.

    Example:
        print(replay(pathlib.Path("runs/mine/student/nonfinite-step-00000120")))

    """

    step: int
    ids: tuple[str, ...]
    losses: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    gradients: dict[str, float]
    heads: dict[str, float]

    def __str__(self) -> str:
        """Return a line for every image, then one for every layer's gradient."""
        width = max(len(name) for name in (*self.ids, "image"))
        titles = [f"{head}: loss of pixels or images" for head in self.losses]
        lines = [f"step {self.step}", "  ".join(["image".ljust(width), *titles])]
        for i, name in enumerate(self.ids):
            cells = [
                f"{loss[i]:.5g} of {self.weights[head][i]:.0f}".rjust(len(title))
                for (head, loss), title in zip(self.losses.items(), titles, strict=True)
            ]
            lines.append("  ".join([name.ljust(width), *cells]))
        lines += ["", "norm of the gradient"]
        norms = self.gradients | {f"loss of {head}": norm for head, norm in self.heads.items()}
        for part, norm in norms.items():
            lines.append(f"{part}: {norm:.5g}" + ("" if math.isfinite(norm) else "  not finite"))
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """The content of a kept step's JSON file."""

    step: int
    ids: list[str]
    stochastic_depth: float = 0.0


def replay(kept: pathlib.Path) -> Replayed:
    """Compute a kept step's losses and gradients again.

    Of self-labeled heads those that have a `recorded` loss take part.

    Args:
        kept: the folder that `keep_step` returned.

    Raises:
        UserError: the folder contains no such step, or one of a self-supervised method.
    """
    for name in (_BATCH, _MODEL, _STEP):
        if not (kept / name).is_file():
            raise UserError(f"{kept} contains no kept step: {name} is missing")
    step = read_json(kept / _STEP, _Step, remedy=_REMEDY)
    model = load_model(kept / _MODEL, remedy=_REMEDY)
    if not isinstance(model, MultiTaskModel):
        problem = "is of a self-supervised method: only steps of heads can be replayed"
        raise UserError.at(kept, problem)
    if step.stochastic_depth:
        backbone = model.get_layer(BACKBONE)
        model.stochastic_depth = StochasticDepth(backbone, step.stochastic_depth)
    x, y = _read(kept / _BATCH)
    y = y | {"labels": {head: to_full(label) for head, label in y["labels"].items()}}
    with model.sampling(y["keys"]), tf.GradientTape(persistent=True) as tape:
        predictions = model(x, training=True)
        losses, weights = {}, {}
        for name, task in model.heads.items():
            label, head = y["labels"][name], model.get_layer(name)
            terms = task.head.loss(label, predictions[name], head, y["keys"])
            losses[name] = of_kept(y, task, terms)
            weights[name] = of_kept(y, task, task.labels.weight(label))
        sums = {name: tf.reduce_sum(value) for name, value in losses.items()}
        total = model.compute_loss(x, y, predictions)
    variables = [v.value for v in model.trainable_variables]
    by_layer = {layer.name: [v.value for v in layer.trainable_variables] for layer in model.layers}
    gradients = tape.gradient(total, by_layer)
    return Replayed(
        step=step.step,
        ids=tuple(step.ids),
        losses={name: value.numpy() for name, value in losses.items()},
        weights={name: value.numpy() for name, value in weights.items()},
        gradients={name: _norm(of_layer) for name, of_layer in gradients.items() if of_layer},
        heads={name: _norm(tape.gradient(value, variables)) for name, value in sums.items()},
    )


def heads_of_gradient(kept: pathlib.Path) -> list[str]:
    """Return the heads whose losses have a gradient that is not finite."""
    heads = replay(kept).heads
    return [f"{GRADIENT} of {name}" for name, norm in heads.items() if not math.isfinite(norm)]


def _read(path: pathlib.Path) -> tuple[dict[str, tf.Tensor], dict[str, Any]]:
    x: dict[str, tf.Tensor] = {}
    labels: dict[str, dict[str, tf.Tensor]] = {}
    heads_of_images: dict[str, tf.Tensor] = {}
    arrays = read_arrays(path, remedy=_REMEDY)
    if "keys" not in arrays:
        raise damaged(path, "it has no 'keys'", remedy=_REMEDY)
    for name, array in arrays.items():
        kind, *rest = name.split("/")
        if kind == "x" and len(rest) == 1:
            x[rest[0]] = tf.constant(array)
        elif kind == "labels" and len(rest) == 2:
            labels.setdefault(rest[0], {})[rest[1]] = tf.constant(array)
        elif kind == "kept" and len(rest) == 1:
            heads_of_images[rest[0]] = tf.constant(array)
    kept = {"kept": heads_of_images} if heads_of_images else {}
    return x, {"labels": labels, "keys": tf.constant(arrays["keys"])} | kept


def _norm(gradients: Sequence[Any]) -> float:
    dense = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    return float(tf.linalg.global_norm(dense)) if dense else 0.0
