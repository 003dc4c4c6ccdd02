"""What every training stage does with its model: trains it, on one process or many."""

from __future__ import annotations

from typing import Any

import keras

from must_keras.files import unshare
from must_keras.modeling.loading import load_model
from must_keras.runs.workdir import Artifact
from must_keras.training.config import TrainingConfig
from must_keras.training.fitted import FittedModel
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loop import fit
from must_keras.training.strategy import chief_says, is_chief
from must_keras.training.summaries import Loggers


def is_finished(part: Artifact, inputs: Any) -> bool:
    """Part.is_finished as the chief sees it, in every process.

    Raises:
        UserError: the part was made from other inputs.
    """
    return bool(chief_says(lambda: part.is_finished(inputs)))


def load_part(part: Artifact) -> keras.Model:
    """Load the trained model of a finished part.

    Raises:
        UserError: it is missing, damaged, or names a class that is not allowed (see load_model).
    """
    return load_model(part.model_path, remedy=f"delete {part.folder} to have it made again")


def save_part(part: Artifact, model: keras.Model) -> None:
    """Write the trained model of a part; a file that another run shares keeps its bytes."""
    unshare(part.model_path)
    model.save(part.model_path)


def fit_part(
    part: Artifact,
    inputs: Any,
    model: FittedModel,
    feed: InputPipeline,
    training: TrainingConfig,
    *,
    title: str,
    origin: str,
) -> Loggers:
    """Trains a part's compiled model, from where an interrupted process stopped.

    Args:
        part: what is made.
        inputs: what it depends on.
        model: with the weights that it starts from.
        feed: its input.
        training: its values.
        title: what it is called on the way.
        origin: what the weights are.

    Returns:
        Where more numbers of the part go; nowhere in a process that is not the chief.
    """
    folder = part.resume(inputs) if is_chief() else part.folder
    summaries = Loggers(folder if is_chief() else None)
    fit(
        model, feed, training, title=title, origin=origin, folder=folder, summaries=summaries
    )  # fmt: skip
    return summaries
