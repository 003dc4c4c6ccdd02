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
    from must_keras.config.domain_gate import DomainGate
    from must_keras.config.episodes import Episodes
    from must_keras.config.recipe import (
        ExternalTeacher, ImportedLabels, Labeler, Pool, Recipe, Student, Teacher, Transfer,
    )  # fmt: skip
    from must_keras.data.augmentation import Augmentation, RandAugment, WholeImages
    from must_keras.data.choices import fitted_detection
    from must_keras.data.class_weights import balanced_class_weights
    from must_keras.data.mixing import CopyPaste, CutMix, MixUp
    from must_keras.data.repeat_factors import RepeatFactors
    from must_keras.data.sources import (
        CocoJson, CocoPanoptic, Concatenated, CsvClasses, CsvTags, DepthMaps, FolderPerClass,
        FolderPerTag, ImagesOnly, Joined, LabelMaps, LabelStudioJson, NormalMaps, ParquetImages,
        Relabeled,
        Source, TarShards, TfdsSource, VocXml, YoloTxt, box_reading, class_reading, depth_reading,
        map_reading, tags_reading, tfds_builder,
    )  # fmt: skip
    from must_keras.data.splits import (
        Splits, carve_validation, split_by_fraction, split_by_lists, split_by_name, split_sequence,
    )  # fmt: skip
    from must_keras.data.strong_views import StrongViews
    from must_keras.errors import DataError, UserError
    from must_keras.exports import LiteRT, Onnx
    from must_keras.inference.external import ExternalModel
    from must_keras.inference.keras_hub_tasks import (
        KerasHubDepth,
        KerasHubDetector,
        KerasHubSegmenter,
    )
    from must_keras.inference.model import Model
    from must_keras.inference.onnx_model import OnnxModel
    from must_keras.inspection import inspect, write_recipe
    from must_keras.interruption import Interrupted
    from must_keras.modeling.backbone import EfficientNetLite0, ResNet
    from must_keras.modeling.keras_backbone import KerasBackbone
    from must_keras.modeling.keras_hub_backbone import KerasHub
    from must_keras.modeling.pretrained import Pretrained
    from must_keras.modeling.torch_resnet import TorchResNet, save_torch_resnet
    from must_keras.self_supervised import (
        Contrast, Jigsaw, MoCo, RandomViews, Rotation, SelfLabeling, SimCLR,
    )  # fmt: skip
    from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation, Tags
    from must_keras.tasks.features import Features
    from must_keras.tasks.thresholds import AtPrecision
    from must_keras.training.best import KeepBest
    from must_keras.training.config import TrainingConfig
    from must_keras.training.dynamic_weights import DynamicAverage
    from must_keras.training.grad_norm import GradNorm
    from must_keras.training.hypervolume import Hypervolume
    from must_keras.training.initialization import (
        FromBackbone, FromCheckpoint, FromModel, FromScratch, FromTeacher,
    )  # fmt: skip
    from must_keras.training.loss_weights import ScalingRule, Uncertainty, Uniform
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD, AdamW, Cosine, Steps
    from must_keras.training.random_weights import RandomWeights
    from must_keras.training.self_labeled import SelfLabeled
    from must_keras.training.softmax_weights import SoftmaxWeights
    from must_keras.training.tracking import MlflowLogger, WandbLogger

# {module: its public names}
_MODULES = {
    "api.making": ("export_labels", "import_labels", "run"),
    "api.opened": ("Run", "load_model", "open_run"),
    "config.domain_gate": ("DomainGate",),
    "config.episodes": ("Episodes",),
    "config.recipe": (
        "ExternalTeacher", "ImportedLabels", "Labeler", "Pool", "Recipe", "Student", "Teacher",
        "Transfer",
    ),
    "data.augmentation": ("Augmentation", "RandAugment", "WholeImages"),
    "data.choices": ("fitted_detection",),
    "data.class_weights": ("balanced_class_weights",),
    "data.mixing": ("CopyPaste", "CutMix", "MixUp"),
    "data.repeat_factors": ("RepeatFactors",),
    "data.sources": (
        "CocoJson", "CocoPanoptic", "Concatenated", "CsvClasses", "CsvTags", "DepthMaps",
        "FolderPerClass", "FolderPerTag", "ImagesOnly", "Joined", "LabelMaps", "LabelStudioJson",
        "NormalMaps", "ParquetImages", "Relabeled", "Source", "TarShards", "TfdsSource", "VocXml",
        "YoloTxt", "box_reading", "class_reading", "depth_reading", "map_reading", "tags_reading",
        "tfds_builder",
    ),
    "data.splits": (
        "Splits", "carve_validation", "split_by_fraction", "split_by_lists", "split_by_name",
        "split_sequence",
    ),
    "data.strong_views": ("StrongViews",),
    "errors": ("DataError", "UserError"),
    "exports": ("LiteRT", "Onnx"),
    "inference.external": ("ExternalModel",),
    "inference.keras_hub_tasks": ("KerasHubDepth", "KerasHubDetector", "KerasHubSegmenter"),
    "inference.model": ("Model",),
    "inference.onnx_model": ("OnnxModel",),
    "inspection": ("inspect", "write_recipe"),
    "interruption": ("Interrupted",),
    "modeling.backbone": ("EfficientNetLite0", "ResNet"),
    "modeling.keras_backbone": ("KerasBackbone",),
    "modeling.keras_hub_backbone": ("KerasHub",),
    "modeling.pretrained": ("Pretrained",),
    "modeling.torch_resnet": ("TorchResNet", "save_torch_resnet"),
    "self_supervised": (
        "Contrast", "Jigsaw", "MoCo", "RandomViews", "Rotation", "SelfLabeling", "SimCLR",
    ),
    "tasks": ("Classification", "Depth", "Detection", "Normals", "Segmentation", "Tags"),
    "tasks.features": ("Features",),
    "tasks.thresholds": ("AtPrecision",),
    "training.best": ("KeepBest",),
    "training.config": ("TrainingConfig",),
    "training.dynamic_weights": ("DynamicAverage",),
    "training.grad_norm": ("GradNorm",),
    "training.hypervolume": ("Hypervolume",),
    "training.initialization": (
        "FromBackbone", "FromCheckpoint", "FromModel", "FromScratch", "FromTeacher",
    ),
    "training.loss_weights": ("ScalingRule", "Uncertainty", "Uniform"),
    "training.network": ("Network",),
    "training.optimizers": ("AdamW", "Cosine", "SGD", "Steps"),
    "training.random_weights": ("RandomWeights",),
    "training.self_labeled": ("SelfLabeled",),
    "training.softmax_weights": ("SoftmaxWeights",),
    "training.tracking": ("MlflowLogger", "WandbLogger"),
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
