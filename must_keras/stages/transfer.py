"""Stage 4: downstream tasks from every start, with the same images, steps and fresh weights."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from must_keras.data.labelled import Labelled
from must_keras.errors import UserError
from must_keras.recipe import Recipe, Transfer
from must_keras.stages import scoring
from must_keras.stages.teacher import selected
from must_keras.training.inference import Predictor
from must_keras.training.model import BACKBONE, NECK, MultiTaskModel, build_model
from must_keras.training.start import FromCheckpoint, copy_parts
from must_keras.training.summaries import Summaries
from must_keras.training.trainer import compile_model, fit
from must_keras.workdir import Part, Workdir

# Raised when the same inputs would give something else than before.
VERSION = 1


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains and scores the transfers that are not finished."""
    models: dict[str, MultiTaskModel] = {}
    for transfer in selected(recipe.transfers, only):
        pending = [
            (start, seed)
            for seed in range(recipe.transfer_seeds)
            for start in recipe.start_names
            if not _part(recipe, workdir, transfer, start, seed).is_finished(
                inputs(recipe, workdir, transfer, start, seed)
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
            result = bench.run(start, models.get(start), seed, part)
            part.finish(inputs(recipe, workdir, transfer, start, seed), result)


def _part(recipe: Recipe, workdir: Workdir, transfer: Transfer, start: str, seed: int) -> Part:
    return workdir.transfer(transfer.name, start, recipe.neck, seed)


def origin(workdir: Workdir, start: str) -> Part | None:
    """The part that a start comes from; None where this run did not make it."""
    if start in ("random", "checkpoint"):
        return None
    return workdir.student if start == "student" else workdir.teacher(start[len("teacher-") :])


def _load(part: Part, start: str) -> MultiTaskModel:
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
        compile_model(self._model, transfer.training)
        self._predictor = Predictor(self._model)
        self._scorer = scoring.Scorer(
            transfer.task, transfer.sets, recipe, size=recipe.network.size
        )
        self._trivial = self._scorer.trivial()
        self._seeded: dict[int, tuple[list[np.ndarray], tf.data.Dataset]] = {}

    def _build(self, seed: int) -> MultiTaskModel:
        training = self._transfer.training
        return build_model(
            self._recipe.network,
            [self._transfer.task],
            seed=seed,
            norm=training.norm(),
            clip_norm=training.clip_norm,
        )

    def run(self, start: str, trained: MultiTaskModel | None, seed: int, part: Part) -> dict:
        """Trains from one start and scores it on test."""
        recipe, transfer, model = self._recipe, self._transfer, self._model
        training, task, folder = transfer.training, transfer.task, part.begin()
        weights, batches = self._of_seed(seed)
        model.set_weights(weights)
        copied = []
        if trained is not None:
            parts = (BACKBONE, NECK) if recipe.neck == "fpn" else (BACKBONE,)
            copied = copy_parts(model, trained, parts)
        elif start == "checkpoint":
            copied = FromCheckpoint().apply(model, recipe.network)
        summaries = Summaries(folder)
        title = f"transfer {transfer.name} from {start}"
        fit(model, batches, training, title=title, folder=folder, summaries=summaries)
        step = training.steps
        metrics = self._scorer.score(
            self._predictor, step=step, summaries=summaries, splits=("test",)
        )
        self._scorer.show(self._predictor, step=step, summaries=summaries)
        summaries.close()
        metric, value = next(iter(metrics.items()))
        print(f"transfer {transfer.name} from {start}, seed {seed}: {scoring.headline(metrics)}")
        return {
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

    def _of_seed(self, seed: int) -> tuple[list[np.ndarray], tf.data.Dataset]:
        """What all starts of a seed have in common: fresh weights, order of the images, views."""
        if seed not in self._seeded:
            recipe, transfer = self._recipe, self._transfer
            number = scoring.part_seed(recipe.seed, "transfer", transfer.name, str(seed))
            batches = transfer.training.batches(
                Labelled(transfer.sets.train, [transfer.task]),
                [transfer.task],
                size=recipe.network.size,
                seed=number,
            )
            self._seeded = {seed: (self._build(number).get_weights(), batches)}
        return self._seeded[seed]
