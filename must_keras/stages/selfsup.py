"""Baselines: backbones that are pre-trained on the student's images without any label."""

from __future__ import annotations

from typing import Any

from must_keras.config.recipe import Recipe
from must_keras.data.sources import without_labels
from must_keras.errors import damaged
from must_keras.files import appended_lines, file_sha256
from must_keras.inference import scoring
from must_keras.pseudo_labels import examples
from must_keras.runs.workdir import Artifact, Workdir, describe
from must_keras.self_supervised import SelfSupervised
from must_keras.self_supervised.views import two_views
from must_keras.stages.label import student_sources
from must_keras.stages.teacher import selected
from must_keras.training.fitting import fit_part, is_finished, save_part
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.strategy import is_chief

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains the methods that a transfer starts from and that are not finished."""
    for method in selected(recipe.wanted_selfsup, only):
        part, made_from = workdir.selfsup(method.name), inputs(recipe, workdir, method)
        if is_finished(part, made_from):
            print(f"{method.name}: finished before, {part.folder}")
        else:
            _train(recipe, workdir, method, part, made_from)


def inputs(recipe: Recipe, workdir: Workdir, method: SelfSupervised) -> dict:
    """What a method depends on: images, whatever their labels say, and no pyramid.

    Raises:
        UserError: a pool is not compared with the test splits yet.
    """
    sources, network = student_sources(recipe), recipe.network
    return {
        "version": VERSION,
        "seed": recipe.seed,
        "backbone": network.backbone,
        "size": network.size,
        "method": describe(method) | {"start": method.start.depends_on(network)},
        "images": [without_labels(source) for source in sources],
    } | examples.as_inputs(examples.left_out(recipe, workdir, sources))


def _train(
    recipe: Recipe, workdir: Workdir, method: SelfSupervised, part: Artifact, made_from: dict
) -> None:
    sources, training, size = student_sources(recipe), method.training, recipe.network.size
    images = examples.union(
        sources,
        (),
        left_out=examples.left_out(recipe, workdir, sources),
        who=f"self-supervised method {method.name!r}",
    )
    seed = scoring.derived_seed(recipe.seed, "selfsup", method.name)
    model = method.build(recipe.network, seed=seed, num_images=len(images))
    training.compile(model)
    look = two_views(method.views, size=size)
    feed = InputPipeline(images, (), training, size=size, seed=seed, look=look)
    origin = str(method.start)
    summaries = fit_part(
        part, made_from, model, feed, training, title=method.name, origin=origin
    )  # fmt: skip
    encoder = model.clean_copy()
    if not is_chief():
        return
    save_part(part, encoder)
    summaries.close()
    metrics = _last_numbers(part)
    print(f"{method.name}: loss {metrics['loss']:.3f}, own view found {metrics['accuracy']:.1%}")
    part.finish(
        made_from,
        {
            "method": type(method).__name__,
            "metrics": metrics,
            "parameters": encoder.count_params(),
            "images": len(images),
            "images_seen": training.images_seen,
            "model_sha256": file_sha256(part.model_path),
        },
    )


def _last_numbers(part: Artifact) -> dict[str, Any]:
    """{"loss", "accuracy"}: means of the last steps, as logged."""
    path, remedy = part.folder / "metrics.jsonl", f"delete {part.folder} to train it again"
    rows = [row for row in appended_lines(path, form={}, remedy=remedy) if "accuracy" in row]
    if not rows:
        raise damaged(path, "it has no line with an accuracy", remedy=remedy)
    return {key: rows[-1].get(key) for key in ("loss", "accuracy")}
