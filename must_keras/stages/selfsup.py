"""Self-supervised baselines: backbones pretrained on the student's images without labels."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from must_keras.data.sources import without_labels
from must_keras.errors import damaged, listed
from must_keras.files import file_sha256
from must_keras.log import LOG
from must_keras.pseudo_labels import leakage, training_set
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import SelfSupervisedResult
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.self_supervised import SelfSupervised
from must_keras.stages.student import score_self_labeled
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import read_metrics
from must_keras.training.loop import fit, save_artifact
from must_keras.training.strategy import is_chief

# Raised when the same inputs would give something else than before.
VERSION = 2


def artifact(run: Run, method: SelfSupervised) -> Artifact:
    """Declare a pretrained backbone: it depends on images, and not on labels.

    Only where heads are trained with it does it depend on the pyramid, which they may read.
    """
    recipe, sources = run.recipe, run.recipe.student_sources

    def find_inputs() -> dict[str, Any] | None:
        if not leakage.is_known(run, sources):
            return None
        network = recipe.network
        pyramid = {"channels": network.channels} if method.heads else {}
        return (
            {
                "version": VERSION,
                "seed": recipe.seed,
                "backbone": network.backbone,
                "size": network.size,
                "method": describe(method) | {"start": method.start.depends_on(network)},
                "images": [without_labels(source) for source in sources],
            }
            | pyramid
            | training_set.inputs(run, sources)
        )

    return run.self_supervised(method.name).declare(
        stage=SelfSupervision.name,
        name=method.name,
        group=method.name,
        find_inputs=find_inputs,
        needs=leakage.artifacts(run, sources),
    )


class SelfSupervision(Stage):
    """The methods that a transfer starts from.

    Example:
        [artifact.name for artifact in SelfSupervision().artifacts(run)]  # ["simclr"]
    """

    name = "selfsup"
    by_all_workers = True
    reads_pools = True

    def is_wanted(self, run: Run) -> bool:
        return bool(run.recipe.wanted_selfsup)

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        for method in run.recipe.wanted_selfsup:
            yield artifact(run, method)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        methods = {method.name: method for method in run.recipe.wanted_selfsup}
        for one in pending:
            _train(run, methods[one.name], one)

    def report(self, run: Run) -> dict[str, Any]:
        methods = [method.name for method in run.recipe.wanted_selfsup]
        results = {name: run.self_supervised(name).result() for name in methods}
        return {"selfsup": {name: result for name, result in results.items() if result}}


STAGE = SelfSupervision()


def _train(run: Run, method: SelfSupervised, artifact: Artifact) -> None:
    recipe, size = run.recipe, run.recipe.network.size
    title = f"self-supervised method {method.name!r}"
    images = training_set.examples(run, recipe.student_sources, (), title=title)
    training, is_in_epochs = (
        method.training.for_images(len(images), title=title),
        method.training.epochs,
    )
    method = dataclasses.replace(method, training=training)
    seed, heads = run.seed("selfsup", method.name), recipe.on_blocks(method.heads)
    options = {"make_views": method.make_views(size=size), "self_labeled": heads}
    feed = InputPipeline(images, (), training, size=size, seed=seed, **options)
    method = method.prepared((size, size), feed.inputs())
    model = method.build(recipe.network, seed=seed, num_images=len(images))
    training.compile(model)
    origin = str(method.start)
    loggers = fit(artifact, model, feed, training, title=method.name, origin=origin)
    encoder = model.clean_copy()
    if not is_chief():
        return
    save_artifact(artifact, encoder)
    options = {"step": training.steps, "loggers": loggers, "title": method.name}
    scores = score_self_labeled(run, model, recipe.teachers, **options) if heads else None
    loggers.close()
    metrics = _last_metrics(artifact, method.metrics)
    LOG.info(f"{method.name}: {', '.join(f'{key} {value:.3f}' for key, value in metrics.items())}")
    artifact.finish(
        SelfSupervisedResult(
            method=type(method).__name__,
            metrics=metrics,
            parameters=encoder.count_params(),
            images=len(images),
            images_seen=training.images_seen,
            model_sha256=file_sha256(artifact.model_path),
            steps=training.steps if is_in_epochs else None,
            self_labeled=scores,
        )
    )


def _last_metrics(artifact: Artifact, names: Sequence[str]) -> dict[str, Any]:
    """Return {name: mean of the last steps, as logged}."""
    logged = [row.values for row in read_metrics(artifact.folder)]
    rows = [values for values in logged if all(name in values for name in names)]
    if not rows:
        path = artifact.folder / "metrics.jsonl"
        remedy = f"delete {artifact.folder} to train it again"
        raise damaged(path, f"it has no line with {listed(names)}", remedy=remedy)
    return {name: rows[-1][name] for name in names}
