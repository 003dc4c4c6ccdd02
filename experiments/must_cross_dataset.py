"""MuST across data sets: ImageNet, Objects365 and COCO as one, each labelled for all tasks.

Todo:
"""

from __future__ import annotations

from experiments.paper import teachers
from experiments.paper.setting import STUDENT, BackboneName, HeadsName, Setting, resnet
from experiments.paper.transfers import NAMES, transfers
from must_keras.recipe import Pool, Recipe, Student
from must_keras.training.model import Precision
from must_keras.training.protocol import Neck


def recipe(
    *,
    data: str,
    depth_model: str,
    data_dir: str | None = None,
    seed: int = 0,
    data_seed: int = 0,
    backbone: BackboneName = "resnet152",
    size: int = 640,
    heads: HeadsName = "published",
    batch: int | None = None,
    evaluation_batch: int = 32,
    precision: Precision = "mixed_bfloat16",
    depth_size: int = 384,
    depth_weight: float = 1.0,
    classification_steps: int = 28_000,
    detection_steps: int = 162_000,
    segmentation_steps: int = 162_000,
    student_steps: int = 450_000,
    transfer_steps: int = 20_000,
    transfer_names: tuple[str, ...] = NAMES,
    transfer_seeds: int = 1,
    learning_rates: tuple[float, ...] = (),
    neck: Neck = "fpn",
    starts: tuple[str, ...] = (
        "random",
        "teacher-imagenet",
        "teacher-objects365",
        "teacher-coco",
        "student",
    ),
    instances: bool = False,
) -> Recipe:
    """The recipe.

    Args:
        data: the folder that is described above.
        depth_model: a .keras file or a SavedModel's folder; see experiments/paper/teachers.py.
        data_dir: where TFDS keeps its data sets; None: its default.
        seed: of weights, order, views and sampling.
        data_seed: of the validation images that are carved out of training sets.
        backbone: "small" is a tiny one, to see all stages run.
        size: pixels a side, a multiple of 32.
        heads: "narrow" ones learn little, and show that all stages run.
        batch: images of every step, with learning rates in proportion; None: as above.
        evaluation_batch: images of a batch when nothing is trained.
        precision: "float32" on a CPU, where the other needs 128 pixels or more.
        depth_size: pixels a side that the depth network wants.
        depth_weight: of the student's loss of depth: not known, see above.
        classification_steps: optimizer steps of the teacher on ImageNet.
        detection_steps: of the one on Objects365.
        segmentation_steps: of the one on COCO.
        student_steps: of the student, and of "supervised".
        transfer_steps: of each transfer.
        transfer_names: the downstream sets; what is left out needs no files.
        transfer_seeds: how often each transfer is repeated.
        learning_rates: of the transfers, the better one on validation for each start and set;
            none: three, see experiments/paper/transfers.py.
        neck: whether transfers take the pyramid along.
        starts: see Recipe.starts; "supervised" too.
        instances: whether the student has a fifth head, of COCO's 80 classes with masks, and a
            teacher of `detection_steps` for it: not in the paper.
    """
    setting = Setting(
        backbone=resnet(backbone), size=size, heads=heads, batch=batch, precision=precision
    )
    sets = teachers.TrainingSets.read(data, seed=data_seed, data_dir=data_dir, instances=instances)
    student = setting.training(STUDENT, student_steps)
    downstream = transfers(
        transfer_names, setting, data=data, data_dir=data_dir, seed=data_seed,
        steps=transfer_steps, learning_rates=learning_rates,
    )  # fmt: skip
    with_masks = [teachers.instances(sets, setting, steps=detection_steps)] if instances else []
    return Recipe(
        name="must_cross_dataset",
        seed=seed,
        network=setting.network,
        teachers=(
            teachers.classification(sets, setting, steps=classification_steps),
            teachers.detection(sets, setting, steps=detection_steps),
            teachers.segmentation(sets, setting, steps=segmentation_steps),
            *with_masks,
            teachers.depth(
                sets, setting, model=depth_model, size=depth_size, loss_weight=depth_weight
            ),
        ),
        # The union, as pools: their true labels win, every image is equally likely, and images
        # that are in a downstream test split are found and left out.
        pools=tuple(
            Pool(source=part.train) for part in (sets.imagenet, sets.objects365, sets.coco)
        ),
        student=Student(training=student, union=False),
        supervised=student,
        transfers=downstream,
        starts=starts,
        transfer_seeds=transfer_seeds,
        neck=neck,
        evaluation_batch=evaluation_batch,
    )
