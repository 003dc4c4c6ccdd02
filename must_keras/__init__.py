"""Multi-Task Self-Training in Keras 3: `import must_keras as mk`.

The public names: each is imported from its module when it is used, and TensorFlow with the first
one that needs it. Modules of must_keras import each other, never these names.
"""

# ruff: noqa: F401, I001 (names for editors)

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # The same names, for editors; a test compares the two.
    from must_keras.api.making import export_labels, import_labels, run
    from must_keras.api.opened import Run, load_model, open_run
    from must_keras.config.recipe import (
        ExternalTeacher, ImportedLabels, Pool, Recipe, Student, Teacher, Transfer,
    )  # fmt: skip
    from must_keras.data.augmentation import Augmentation
    from must_keras.data.sources import (
        CocoJson, CsvClasses, DepthMaps, FolderPerClass, ImagesOnly, Joined, LabelMaps,
        LabelStudioJson, NormalMaps, ParquetImages, Source, TarShards, TfdsSource, VocXml, YoloTxt,
    )  # fmt: skip
    from must_keras.data.splits import (
        Splits, carve_validation, split_by_fraction, split_by_lists, split_sequence,
    )  # fmt: skip
    from must_keras.errors import DataError, UserError
    from must_keras.inference.external import ExternalModel
    from must_keras.inference.model import Model
    from must_keras.inspection import inspect, write_recipe
    from must_keras.interruption import Interrupted
    from must_keras.modeling.backbone import ResNet
    from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
    from must_keras.training.config import TrainingConfig
    from must_keras.training.initialization import FromCheckpoint
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD, AdamW

# {module: its public names}
_MODULES = {
    "api.making": ("export_labels", "import_labels", "run"),
    "api.opened": ("Run", "load_model", "open_run"),
    "config.recipe": (
        "ExternalTeacher", "ImportedLabels", "Pool", "Recipe", "Student", "Teacher", "Transfer",
    ),
    "data.augmentation": ("Augmentation",),
    "data.sources": (
        "CocoJson", "CsvClasses", "DepthMaps", "FolderPerClass", "ImagesOnly", "Joined",
        "LabelMaps", "LabelStudioJson", "NormalMaps", "ParquetImages", "Source",
        "TarShards", "TfdsSource", "VocXml", "YoloTxt",
    ),
    "data.splits": (
        "Splits", "carve_validation", "split_by_fraction", "split_by_lists", "split_sequence",
    ),
    "errors": ("DataError", "UserError"),
    "inference.external": ("ExternalModel",),
    "inference.model": ("Model",),
    "inspection": ("inspect", "write_recipe"),
    "interruption": ("Interrupted",),
    "modeling.backbone": ("ResNet",),
    "tasks": ("Classification", "Depth", "Detection", "Normals", "Segmentation"),
    "training.config": ("TrainingConfig",),
    "training.initialization": ("FromCheckpoint",),
    "training.network": ("Network",),
    "training.optimizers": ("AdamW", "SGD"),
}  # fmt: skip
_NAMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = tuple(sorted(_NAMES))


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    command = importlib.import_module("must_keras.command")
    with command.quiet_import():
        found = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
