"""Presets of KerasHub: the module, which is an optional extra, and what identifies a preset."""

import pathlib
from typing import Any

from must_keras.errors import UserError, reason
from must_keras.files import files_sha256


def keras_hub() -> Any:
    """Return the module of KerasHub.

    Raises:
        UserError: it is not installed.
    """
    try:
        import keras_hub as module
    except ImportError as error:
        remedy = "pip install keras-hub, or the extra must-keras[hub]"
        raise UserError(f"keras_hub cannot be imported: {remedy}", remedy=remedy) from error
    return module


def describe_preset(preset: str | pathlib.Path) -> dict[str, str]:
    """Return what identifies a preset: the content of a folder, or a name and KerasHub's version.

    Raises:
        UserError: KerasHub is not installed, whose version decides what a name stands for.
    """
    sha256 = files_sha256(pathlib.Path(preset)) if pathlib.Path(preset).is_dir() else None
    if sha256 is not None:
        return {"preset": sha256}
    return {"preset": str(preset), "keras_hub": keras_hub().__version__}


def from_preset(target: Any, preset: str | pathlib.Path, **arguments: Any) -> Any:
    """Return what a class of KerasHub makes of a preset; one that is no folder is downloaded.

    Args:
        target: a class with `from_preset`.
        preset: a name, "kaggle://...", "hf://...", or a folder.
        arguments: of `from_preset`.

    Raises:
        UserError: the preset cannot be loaded.
    """
    try:
        return target.from_preset(str(preset), **arguments)
    except Exception as error:  # Of networks, of files and of classes: no closed list.
        problem = f"the preset {preset} cannot be loaded: {reason(error)}"
        raise UserError(problem, key="preset", value=preset) from error
