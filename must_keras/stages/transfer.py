"""Stage 4: downstream tasks from every start, with the same images, steps and fresh weights."""

from __future__ import annotations

import keras
import numpy as np

from must_keras.data.labelled import Labelled
from must_keras.errors import UserError
from must_keras.recipe import Recipe, Transfer
from must_keras.stages import scoring
from must_keras.stages.teacher import selected
from must_keras.training.inference import Predictor
from must_keras.training.model import MultiTaskModel, build_model, start_from
from must_keras.training.summaries import Summaries
from must_keras.training.trainer import compile_model, fit
from must_keras.workdir import Part, Workdir


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains and scores the transfers that are not finished."""
    models: dict[str, MultiTaskModel | None] = {}
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
            if start not in models:
                models[start] = load_start(workdir, start)
        bench = _Bench(recipe, transfer)
        for start, seed in pending:
            part = _part(recipe, workdir, transfer, start, seed)
            result = bench.run(models[start], start, seed, part)
            part.finish(inputs(recipe, workdir, transfer, start, seed), result)


def _part(recipe: Recipe, workdir: Workdir, transfer: Transfer, start: str, seed: int) -> Part:
    return workdir.transfer(transfer.name, start, recipe.neck, seed)


def origin(workdir: Workdir, start: str) -> Part | None:
    """The part that a start comes from; None for the random one."""
    if start == "random":
        return None
    return workdir.student if start == "student" else workdir.teacher(start[len("teacher-") :])


def load_start(workdir: Workdir, start: str) -> MultiTaskModel | None:
    """The trained model that a start stands for; None for the random one.

    Raises:
        UserError: it is not finished.
    """
    part = origin(workdir, start)
    if part is None:
        return None
    if part.result() is None:
        raise UserError(f"start {start!r}: {part.folder} is not finished; run that stage first")
    return keras.saving.load_model(part.model_path)


def inputs(recipe: Recipe, workdir: Workdir, transfer: Transfer, start: str, seed: int) -> dict:
    """What one transfer depends on."""
    part = origin(workdir, start)
    return {
        "start": start,
        "made_from": part.result() if part else None,
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
        self._trivial = scoring.trivial(transfer.task, transfer.sets, recipe)
        self._fresh: dict[int, list[np.ndarray]] = {}

    def _build(self, seed: int) -> MultiTaskModel:
        training = self._transfer.training
        return build_model(
            self._recipe.network,
            [self._transfer.task],
            seed=seed,
            norm=training.norm(),
            clip_norm=training.clip_norm,
        )

    def run(self, origin: MultiTaskModel | None, start: str, seed: int, part: Part) -> dict:
        """Trains from one start and scores it on test."""
        recipe, transfer, model = self._recipe, self._transfer, self._model
        training, task, folder = transfer.training, transfer.task, part.begin()
        # The same for all starts of a seed: fresh weights, order of the images, views.
        number = scoring.part_seed(recipe.seed, "transfer", transfer.name, str(seed))
        if number not in self._fresh:
            self._fresh = {number: self._build(number).get_weights()}
        model.set_weights(self._fresh[number])
        copied = []
        if origin is not None:
            copied = start_from(model, origin, with_neck=recipe.neck == "fpn")
        summaries = Summaries(folder)
        fit(
            model,
            Labelled(transfer.sets.train, [task]),
            training,
            seed=number,
            title=f"transfer {transfer.name} from {start}",
            folder=folder,
            summaries=summaries,
        )
        step = training.steps
        metrics = scoring.score(
            self._predictor, task, transfer.sets, recipe, step=step, summaries=summaries,
            splits=("test",),
        )  # fmt: skip
        scoring.show(
            self._predictor, task, transfer.sets.validation, recipe, step=step,
            summaries=summaries,
        )  # fmt: skip
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
