"""The trained model of an artifact: fitted, saved and loaded, by one process or many."""

from __future__ import annotations

import keras

from must_keras.files import unshare
from must_keras.modeling.loading import load_model
from must_keras.runs.artifact import Artifact
from must_keras.training.config import TrainingConfig
from must_keras.training.fitted import FittedModel
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.loop import fit
from must_keras.training.strategy import is_chief


def load_artifact(artifact: Artifact) -> keras.Model:
    """Load the trained model of a complete artifact.

    Raises:
        UserError: it is missing, damaged, or names a class that is not allowed (see load_model).
    """
    return load_model(artifact.model_path, remedy=f"delete {artifact.folder} to have it made again")


def save_artifact(artifact: Artifact, model: keras.Model) -> None:
    """Write the trained model of an artifact; a file that another run shares keeps its bytes."""
    unshare(artifact.model_path)
    model.save(artifact.model_path)


def fit_artifact(
    artifact: Artifact,
    model: FittedModel,
    pipeline: InputPipeline,
    training: TrainingConfig,
    *,
    title: str,
    origin: str,
) -> Loggers:
    """Train an artifact's compiled model; resume where an interrupted process stopped.

    Args:
        artifact: the artifact.
        model: with its initial weights.
        pipeline: the input.
        training: its values.
        title: begins log lines.
        origin: of the initial weights, for the log.

    Returns:
        The loggers of the artifact, for its evaluation; without any in processes that are not the
        chief.
    """
    folder = artifact.resume() if is_chief() else artifact.folder
    loggers = Loggers(folder if is_chief() else None, training.loggers)
    fit(
        model, pipeline, training, title=title, origin=origin, folder=folder, loggers=loggers
    )  # fmt: skip
    return loggers
