"""Keras models read from files as data: nothing that a file names is imported or run."""

import json
import os
import pathlib
import sys
import types
import zipfile
from collections.abc import Iterator
from typing import Any

import keras

from must_keras.arrays import check_expansion
from must_keras.errors import UserError, reason

_CONFIG = "config.json"
# Bytes; the configuration of a Mask R-CNN on a ResNet-50 has a quarter of a million.
_MAX_CONFIG = 2**26
# Names of which Keras makes values.
_VALUES = (
    "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__",
)  # fmt: skip
_FUNCTION = "function"
# Functions that make objects of their arguments.
_MAKERS = ("deserialize", "get", "serialize")
# Modules of classes that compute with tensors and read nothing else.
_KERAS = tuple(f"keras.src.{place}" for place in (
    "activations.", "applications.convnext", "constraints.", "dtype_policies.", "initializers.",
    "losses.", "metrics.", "models.functional", "models.model", "models.sequential", "ops.",
    "optimizers.", "quantizers.", "random.", "regularizers.", "layers.activations.",
    "layers.attention.", "layers.convolutional.", "layers.core.dense", "layers.core.einsum_dense",
    "layers.core.embedding", "layers.core.identity", "layers.core.input_layer",
    "layers.core.masking", "layers.core.reversible_embedding", "layers.core.wrapper",
    "layers.merging.", "layers.normalization.", "layers.pooling.",
    "layers.preprocessing.discretization", "layers.preprocessing.image_preprocessing.",
    "layers.preprocessing.normalization", "layers.preprocessing.pipeline",
    "layers.preprocessing.rescaling", "layers.regularization.", "layers.reshaping.",
    "layers.rnn.",
))  # fmt: skip
_KERAS_CV = ("keras_cv.src.models.backbones.",)
_NOTHING = types.ModuleType("nothing")
# Modules of functions that a layer may have: activations, losses.
_FUNCTIONS = ("builtins", "keras.activations", "keras.initializers", "keras.losses",
    "keras.metrics", "keras.ops", "keras.src.activations", "keras.src.losses",
)  # fmt: skip


def load_model(path: str | os.PathLike[str], *, remedy: str) -> keras.Model:
    """Load a .keras file, not compiled, if all its classes compute with tensors alone.

    Allowed are Keras' own layers but those that run code or read files (Lambda, TFSMLayer,
    TorchModuleWrapper, JaxLayer, FlaxLayer, look-ups of texts), keras_cv's backbones, and classes
    that must_keras or the recipe's own code has registered with
    `keras.saving.register_keras_serializable`. The file's configuration is checked before Keras
    reads it; Keras' safe mode stays on.

    Args:
        path: of the file.
        remedy: what to do where the file is damaged, an imperative sentence without its full stop.

    Raises:
        UserError: the file is missing, damaged, no model, or names a class that is not allowed.

    Example:
        model = load_model("runs/scenes/student/model.keras", remedy="train it again")

    """
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a folder, expected a .keras file" if path.is_dir() else "is not there"
        raise UserError(f"{path} {what}; {remedy}", path=path, remedy=remedy)
    if path.suffix != ".keras":
        raise UserError(
            f"{path} cannot be read as a model: its name does not end in .keras; load it with "
            "keras.saving.load_model, where you trust it, and save it as .keras"
        )
    try:
        config = _config(path)
    # The errors of damaged archives are no closed list: zlib.error, RuntimeError, struct.error ...
    except Exception as error:
        raise _unreadable(path, error, remedy) from None
    problem = next(filter(None, map(_problem, _named(config))), None)
    if problem is not None:
        raise UserError(
            f"{path} names {problem}, and is not loaded: it might run code or read files. Save the "
            "model without it; or, where you trust the file, load it with "
            "keras.saving.load_model in your recipe"
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _unreadable(path, error, remedy) from error
    if not isinstance(model, keras.Model):
        problem = f"contains a {type(model).__name__}, expected a model; {remedy}"
        raise UserError.at(path, problem, remedy=remedy)
    return model


def _unreadable(path: pathlib.Path, error: Exception, remedy: str) -> UserError:
    problem = f"cannot be read as a model: {reason(error)}; {remedy}"
    return UserError.at(path, problem, remedy=remedy)


def _config(path: pathlib.Path) -> Any:
    """Return the configuration in a .keras file.

    Raises:
        ValueError: a member is implausibly large, or the configuration is missing or damaged.
        Exception: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            check_expansion(info, f"its {info.filename}")
        if _CONFIG not in archive.namelist():
            raise ValueError(f"it has no {_CONFIG}")
        info = archive.getinfo(_CONFIG)
        if info.file_size > _MAX_CONFIG:
            raise ValueError(f"its {_CONFIG} has {info.file_size} bytes")
        try:
            config = json.loads(archive.read(info))
        except RecursionError:
            raise ValueError(f"its {_CONFIG} is nested too deeply") from None
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError(f"its {_CONFIG} names no class")
    return config


def _named(config: Any) -> Iterator[Any]:
    """Yield everything in a configuration that Keras may take for an object or its name."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and ">" in value:  # "<package>><name>"
            yield value


def _problem(named: dict[str, Any] | str) -> str | None:
    """Return the class or function that is named, where it is not allowed; else None."""
    if isinstance(named, str):
        found = keras.saving.get_registered_object(named)
        return None if found is None or _is_allowed(found) else f"the registered {named}"
    name, module = named["class_name"], named.get("module")
    if name in _VALUES:
        return None
    is_function = name == _FUNCTION
    key = named.get("config") if is_function else named.get("registered_name", name)
    description = f"the function {key}" if is_function else f"the class {name}"
    description += f" of {module}" if module else ""
    if isinstance(named.get("config"), dict) and isinstance(named["config"].get("name"), str):
        description += f" (layer {named['config']['name']!r})"
    if not all(isinstance(text, str | None) for text in (name, module, key)):
        return description
    if any(text is not None and text.startswith("keras_cv") for text in (key, module)):
        import keras_cv  # noqa: F401  # It registers its classes.
    found = None if key is None else keras.saving.get_registered_object(key)
    if found is not None:
        return None if _is_allowed(found) else description
    if is_function:
        is_plain = key is not None and key.isidentifier() and key not in _MAKERS
        return None if is_plain and (module or "builtins") in _FUNCTIONS else description
    # Only of modules that are imported already, and not by a path ("keras", "layers.Lambda").
    found = vars(sys.modules.get(module or "", _NOTHING)).get(name)
    is_keras = (module or "").split(".")[0] == "keras"
    return None if is_keras and isinstance(found, type) and _is_allowed(found) else description


def _is_allowed(found: Any) -> bool:
    """Return whether a registered class or function, or a class of Keras, is allowed."""
    home = f"{found.__module__}."
    allowed = {"keras": _KERAS, "keras_cv": _KERAS_CV}.get(home.split(".")[0])
    # Everything else was registered by code that runs already.
    return True if allowed is None else home.startswith(tuple(allowed))
