"""Stage 4: downstream tasks from every start, with the same images, steps and fresh weights."""

from __future__ import annotations

import dataclasses

import keras

from must_keras.config.recipe import Recipe
from must_keras.errors import UserError
from must_keras.runs.workdir import Artifact, Workdir
from must_keras.stages.teacher import selected
from must_keras.training.fitting import is_finished, load_part
from must_keras.training.initialization import FromCheckpoint
from must_keras.transfer.grid import Cell, cells
from must_keras.transfer.trainer import Bench

# Raised when the same inputs would give something else than before.
VERSION = 3


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains and scores the transfers that are not finished."""
    models: dict[str, keras.Model] = {}
    for transfer in selected(recipe.transfers, only):
        pending = [
            cell
            for cell in cells(recipe, transfer)
            if not is_finished(cell.part(workdir), inputs(recipe, workdir, cell))
        ]
        if not pending:
            print(f"transfer {transfer.name}: finished before")
            continue
        for start in dict.fromkeys(cell.start for cell in pending):
            part = origin(workdir, start)
            if part is not None and start not in models:
                models[start] = _load(part, start)
        bench = Bench(recipe, transfer, workdir)
        for cell in pending:
            bench.run(cell, models.get(cell.start), inputs(recipe, workdir, cell))


def origin(workdir: Workdir, start: str) -> Artifact | None:
    """The part that a start comes from; None where this run did not make it."""
    if start in ("random", "checkpoint"):
        return None
    if start.startswith("teacher-"):
        return workdir.teacher(start[len("teacher-") :])
    own = (workdir.student, workdir.rounds, workdir.supervised)
    named = {part.folder.name: part for part in own}
    return named.get(start) or workdir.selfsup(start)


def _load(part: Artifact, start: str) -> keras.Model:
    if part.result() is None:
        raise UserError(f"start {start!r}: {part.folder} is not finished; run that stage first")
    return load_part(part)


def inputs(recipe: Recipe, workdir: Workdir, cell: Cell) -> dict:
    """What one transfer depends on."""
    transfer, start = cell.transfer, cell.start
    part, made_from = origin(workdir, start), None
    if part is not None:
        made_from = part.result()
    elif start == "checkpoint":
        made_from = FromCheckpoint().depends_on(recipe.network)
    # What is not used is not named: parts that were made before it could be used stay valid.
    more = cell.protocol.differs()
    if len(transfer.rates) > 1:
        more["learning_rates"] = transfer.rates
    if transfer.rates_from is not None:
        more["rates_from"] = (cell.chooser(workdir).result() or {}).get("learning_rate")
    return {
        "version": VERSION,
        "start": start,
        "made_from": made_from,
        "seed": [recipe.seed, cell.seed],
        "network": recipe.network,
        "task": transfer.task,
        "sets": transfer.sets,
        "training": dataclasses.replace(transfer.training, learning_rate=transfer.rates[0]),
        "neck": cell.protocol.neck,
    } | more
