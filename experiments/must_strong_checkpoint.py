"""MuST from a strong checkpoint: the student starts from a published backbone.

Ghiasi et al. (2021) start from ALIGN, which is not public: an EfficientNet-L2, as far as
remembered. Here it is any checkpoint in Keras, and teachers from scratch on the same architecture
label ImageNet, as in must_imagenet.py. Is the student a better start than the checkpoint that it
began with?

Command:   python -m must_keras.main --experiment=must_strong_checkpoint:data=data,\
depth_model=midas.keras,checkpoint=resnet152.keras
The file:  backbone=resnet152 or resnet50: keras.applications.ResNet152() or ResNet50(), with any
           weights, saved by .save("resnet152.keras"): inputs and stages are theirs.
           backbone=named: a file that takes RGB from 0 to 255 and names its stages itself, such as
           export/backbone.keras of another run.
Smaller:   as must_imagenet.py; to try it: backbone=named with the export of a small run,
           heads=narrow,size=64,batch=4,precision=float32 and few steps

What has to be there: what must_imagenet.py names, and the checkpoint.

Hardware:  as must_imagenet.py
Hours:     as must_imagenet.py for these two networks, with three fifths of its transfers
Images:    of the teachers fewer than of the student, unless their steps say otherwise: see there
Memory:    as must_imagenet.py; recomputing is not for a checkpoint's layers
Expected:  nothing that was measured: see there

The paper's    that MuST improves on a strong checkpoint
A proxy        the student's batch, rate and weight decay: those of segmentation that starts from a
               trained backbone
Not known      the paper's images, steps and rates of this experiment: images and steps are taken
               from must_imagenet.py. Teachers begin from scratch, which the paper says of its own.
Options        as must_imagenet.py: ours are off
"""

from __future__ import annotations

import pathlib
from typing import Literal

from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.config.transfers import Mode, Neck
from must_keras.modeling.keras_backbone import LEVELS, KerasBackbone
from must_keras.training.initialization import FromCheckpoint
from must_keras.training.network import Precision

from .paper import teachers
from .paper.setting import FROM_TRAINED, HeadsName, Setting
from .paper.transfers import NAMES, transfers

# The layers that end the stages of keras.applications' networks.
_STAGES = {
    "resnet50": ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    "resnet152": ("conv2_block3_out", "conv3_block8_out", "conv4_block36_out", "conv5_block3_out"),
}
# Their `preprocess_input`: the mean of BLUE, green and red is taken away, nothing is divided.
_CAFFE = {"offset": (103.939, 116.779, 123.68), "colors": "bgr"}


def recipe(
    *,
    data: str,
    depth_model: str,
    checkpoint: str,
    data_dir: str | None = None,
    seed: int = 0,
    data_seed: int = 0,
    backbone: Literal["resnet50", "resnet152", "named"] = "resnet152",
    size: int = 640,
    heads: HeadsName = "published",
    batch: int | None = None,
    part: int = 256,
    evaluation_batch: int = 32,
    precision: Precision = "mixed_bfloat16",
    depth_size: int = 384,
    depth_weight: float = 1.0,
    classification_steps: int = 28_000,
    detection_steps: int = 162_000,
    segmentation_steps: int = 162_000,
    student_steps: int = 450_000,
    transfer_steps: int = 5_000,
    transfer_names: tuple[str, ...] = NAMES,
    transfer_seeds: int = 1,
    learning_rates: tuple[float, ...] = (),
    rates_from: str | None = None,
    mode: Mode = "full",
    neck: Neck = "backbone",
    shots: tuple[int | None, ...] = (None,),
    starts: tuple[str, ...] = ("random", "checkpoint", "student"),
    checkpoint_kind: Literal["classification", "other"] = "classification",
) -> Recipe:
    """The recipe.

    Args:
        data: the folder that is described above.
        depth_model: a .keras file or a SavedModel's folder; see experiments/paper/teachers.py.
        checkpoint: a .keras file of built-in layers.
        data_dir: where TFDS keeps its data sets; None: its default.
        seed: of weights, order, views and sampling.
        data_seed: of the validation images that are carved out of training sets.
        backbone: what the file is, see above.
        size: pixels a side, a multiple of 32.
        heads: "narrow" ones learn little, and show that all stages run.
        batch: images of every step, with learning rates in proportion; None: each schedule's.
        part: images that are computed at once, over all GPUs: larger batches in such parts.
        evaluation_batch: images of a batch when nothing is trained.
        precision: "float32" on a CPU, where the other needs 128 pixels or more.
        depth_size: pixels a side that the depth network wants.
        depth_weight: of the student's loss of depth: not known, see above.
        classification_steps: optimizer steps of the teacher on ImageNet.
        detection_steps: of the one on Objects365.
        segmentation_steps: of the one on COCO.
        student_steps: of the student and of "supervised"; "simclr" and "moco" draw as many images.
        transfer_steps: of each transfer.
        transfer_names: the downstream sets; what is left out needs no files.
        transfer_seeds: how often each transfer is repeated.
        learning_rates: of the transfers, the better one on validation for each start and set;
            none: three, see experiments/paper/transfers.py.
        rates_from: the folder of another run, whose choice of learning rates is taken.
        mode: "frozen" trains heads alone on features that stay as they are.
        neck: whether transfers take the pyramid along.
        shots: how many labeled images transfers see, of each class for classification, in all for
            other tasks; "none" is all of them. Several as in shots=10+20+none.
        starts: see Recipe.starts; the teachers, "supervised", "simclr" and "moco" too, of which the
            last three begin at the checkpoint.
        checkpoint_kind: whether it was trained on classes, as CIFAR-100's task is.
    """
    setting = Setting(
        backbone=_backbone(checkpoint, backbone),
        size=size,
        heads=heads,
        batch=batch,
        part=part,
        precision=precision,
    )
    sets = teachers.TrainingSets.read(data, seed=data_seed, data_dir=data_dir)
    seen = "task" if checkpoint_kind == "classification" else "none"
    downstream = transfers(
        transfer_names, setting, data=data, data_dir=data_dir, seed=data_seed,
        steps=transfer_steps, learning_rates=learning_rates, rates_from=rates_from,
        # What begins at the checkpoint and learns no classes itself knows as much of them.
        aligned={"cifar100": dict.fromkeys(("checkpoint", "simclr", "moco"), seen)},
    )  # fmt: skip
    student = setting.training(FROM_TRAINED, student_steps)
    return Recipe(
        name="must_strong_checkpoint",
        seed=seed,
        network=setting.network,
        # From scratch, on the same architecture.
        teachers=(
            teachers.classification(sets, setting, steps=classification_steps),
            teachers.detection(sets, setting, steps=detection_steps),
            teachers.segmentation(sets, setting, steps=segmentation_steps),
            teachers.depth(
                sets, setting, model=depth_model, size=depth_size, loss_weight=depth_weight
            ),
        ),
        pools=(Pool(source=sets.imagenet.train),),
        student=Student(training=student, union=False, start=FromCheckpoint()),
        supervised=student,
        selfsup=setting.selfsup(student, start=FromCheckpoint()),
        transfers=downstream,
        starts=starts,
        transfer_seeds=transfer_seeds,
        mode=mode,
        neck=neck,
        shots=shots,
        evaluation_batch=evaluation_batch,
    )


def _backbone(checkpoint: str, name: str) -> KerasBackbone:
    path = pathlib.Path(checkpoint)
    if name == "named":
        return KerasBackbone(path=path)
    levels = dict(zip(LEVELS, _STAGES[name], strict=True))
    return KerasBackbone(path=path, levels=levels, **_CAFFE)
