"""Stage 4: downstream tasks from every start, with the same images, steps and fresh weights."""

from __future__ import annotations

import keras
import numpy as np

from must_keras.data.labelled import Labelled
from must_keras.errors import UserError
from must_keras.recipe import Recipe, Transfer
from must_keras.stages import scoring
from must_keras.stages.fitting import fit_part, is_finished
from must_keras.stages.teacher import selected
from must_keras.training.feed import Feed
from must_keras.training.inference import Predictor
from must_keras.training.model import BACKBONE, NECK, MultiTaskModel, build_model
from must_keras.training.start import FromCheckpoint, copy_parts
from must_keras.training.strategy import is_chief
from must_keras.workdir import Part, Workdir

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains and scores the transfers that are not finished."""
    models: dict[str, keras.Model] = {}
    for transfer in selected(recipe.transfers, only):
        pending = [
            (start, seed)
            for seed in range(recipe.transfer_seeds)
            for start in recipe.start_names
            if not is_finished(
                _part(recipe, workdir, transfer, start, seed),
                inputs(recipe, workdir, transfer, start, seed),
            )
        ]
        if not pending:
            print(f"transfer {transfer.name}: finished before")
            continue
        for start, _ in pending:
            part = origin(workdir, start)
            if part is not None and start not in models:
                models[start] = _load(part, start)
        bench = _Bench(recipe, transfer)
        for start, seed in pending:
            part = _part(recipe, workdir, transfer, start, seed)
            made_from = inputs(recipe, workdir, transfer, start, seed)
            bench.run(start, models.get(start), seed, part, made_from)


def _part(recipe: Recipe, workdir: Workdir, transfer: Transfer, start: str, seed: int) -> Part:
    return workdir.transfer(transfer.name, start, recipe.neck, seed)


def origin(workdir: Workdir, start: str) -> Part | None:
    """The part that a start comes from; None where this run did not make it."""
    if start in ("random", "checkpoint"):
        return None
    if start.startswith("teacher-"):
        return workdir.teacher(start[len("teacher-") :])
    named = {"student": workdir.student, "supervised": workdir.supervised}
    return named.get(start) or workdir.selfsup(start)


def _load(part: Part, start: str) -> keras.Model:
    if part.result() is None:
        raise UserError(f"start {start!r}: {part.folder} is not finished; run that stage first")
    return keras.saving.load_model(part.model_path)


def inputs(recipe: Recipe, workdir: Workdir, transfer: Transfer, start: str, seed: int) -> dict:
    """What one transfer depends on."""
    part, made_from = origin(workdir, start), None
    if part is not None:
        made_from = part.result()
    elif start == "checkpoint":
        made_from = FromCheckpoint().depends_on(recipe.network)
    return {
        "version": VERSION,
        "start": start,
        "made_from": made_from,
        "seed": [recipe.seed, seed],
        "network": recipe.network,
        "task": transfer.task,
        "sets": transfer.sets,
        "training": transfer.training,
        "neck": recipe.neck,
    }


class _Bench:
    """One downstream task's network, traced once; every start loads its weights into it."""

    def __init__(self, recipe: Recipe, transfer: Transfer):
        self._recipe, self._transfer = recipe, transfer
        self._model = self._build(0)
        transfer.training.compile(self._model)
        self._predictor = Predictor(self._model)
        self._scorer = scoring.Scorer(
            transfer.task, transfer.sets, recipe, size=recipe.network.size
        )
        self._trivial: dict[str, float | None] | None = None
        self._seeded: dict[int, tuple[list[np.ndarray], Feed]] = {}

    def _build(self, seed: int) -> MultiTaskModel:
        training = self._transfer.training
        return build_model(
            self._recipe.network,
            [self._transfer.task],
            seed=seed,
            **training.of_model(),
        )

    def run(
        self, start: str, trained: keras.Model | None, seed: int, part: Part, made_from: dict
    ) -> None:
        """Trains from one start, scores it on test and finishes the part."""
        recipe, transfer, model = self._recipe, self._transfer, self._model
        training, task = transfer.training, transfer.task
        weights, feed = self._of_seed(seed)
        model.set_weights(weights)
        copied = []
        if trained is not None:
            parts = (BACKBONE, NECK) if recipe.neck == "fpn" else (BACKBONE,)
            copied = copy_parts(model, trained, parts)
        elif start == "checkpoint":
            copied = FromCheckpoint().apply(model, recipe.network)
        title = f"transfer {transfer.name} from {start}, seed {seed}"
        origin = f"{start} ({', '.join(copied)})" if copied else "scratch"
        summaries = fit_part(part, made_from, model, feed, training, title=title, origin=origin)
        if not is_chief():
            return
        self._trivial = self._trivial or self._scorer.trivial()
        step = training.steps
        metrics = self._scorer.score(
            self._predictor, step=step, summaries=summaries, splits=("test",)
        )
        self._scorer.show(self._predictor, step=step, summaries=summaries)
        summaries.close()
        metric, value = next(iter(metrics.items()))
        print(f"{title}: {scoring.headline(metrics)}")
        result = {
            "set": transfer.name,
            "task": task.kind,
            "start": start,
            "seed": seed,
            "images": len(transfer.sets.train),
            "steps": training.steps,
            "learning_rate": training.learning_rate,
            "metric": metric,
            "value": value,
            "metrics": metrics,
            "trivial": self._trivial[metric],
            "aligned": recipe.alignment(transfer, start),
            "mode": "full",
            "neck": recipe.neck,
            "copied": copied,
            "shots": None,
            "split": "test",
        }
        part.finish(made_from, result)

    def _of_seed(self, seed: int) -> tuple[list[np.ndarray], Feed]:
        """What all starts of a seed have in common: fresh weights, order of the images, views."""
        if seed not in self._seeded:
            recipe, transfer = self._recipe, self._transfer
            number = scoring.part_seed(recipe.seed, "transfer", transfer.name, str(seed))
            feed = Feed(
                Labelled(transfer.sets.train, [transfer.task]),
                [transfer.task],
                transfer.training,
                size=recipe.network.size,
                seed=number,
            )
            self._seeded = {seed: (self._build(number).get_weights(), feed)}
        return self._seeded[seed]
