"""MuST across data sets: ImageNet, Objects365 and COCO as one, each labeled for all tasks.

Ghiasi et al. (2021), cross-dataset training: every image has the ground truth of its own set
and pseudo labels for all other tasks; all images of the union are equally likely, whatever their
set and task. Everything else is as in must_imagenet.py: its docstring lists the paper's values, the
proxies, the unknown values and where those come from.

Command:   python -m must_keras.main --experiment=must_cross_dataset:data=data,\
depth_model=midas.keras
Smaller:   ...,backbone=resnet50,batch=64; any part of it by --stage and --only
To try it: ...,backbone=small,heads=narrow,size=64,batch=4,precision=float32 and few steps

What has to be there: what must_imagenet.py names, and with instances=true, a fifth head for COCO's
80 classes with masks, coco/annotations/instances_{train2017,val2017}.json. COCO's own boxes cannot
be ground truth for the head that has Objects365's classes: 80 of 365 would call the rest
background.

Hardware:  as must_imagenet.py
Hours:     the teachers are must_imagenet.py's (--reuse=runs/must_imagenet-... takes them along,
           with their labels of ImageNet); the student sees as many images, 450,000 x 256, which
           are 37 epochs of the union's 3.1 million: 99 h with a ResNet-50, 128 h with a ResNet-152,
           by the same arithmetic. To label 3.1 million images: two hours and MiDaS's. Before
           that the union is compared with the downstream test splits: every image is read once.
Images:    of the teachers fewer than of the student, unless their steps say otherwise: see there
Memory:    as must_imagenet.py
Expected:  nothing that was measured: see there

The paper's    the three sets, ground-truth labels first, uniform sampling over the union
Not known      how long; and whether images of the union that are in a downstream test split were
               left out: here they are
Options        as must_imagenet.py: ours are off
"""

from __future__ import annotations

from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.config.transfers import Mode, Neck
from must_keras.training.initialization import FromScratch
from must_keras.training.network import Precision

from .paper import teachers
from .paper.setting import STUDENT, BackboneName, HeadsName, Setting, resnet
from .paper.transfers import NAMES, transfers


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
        starts: see Recipe.starts; "supervised", "simclr" and "moco" too.
        instances: whether the student has a fifth head, of COCO's 80 classes with masks, and a
            teacher of `detection_steps` for it: not in the paper.
    """
    setting = Setting(
        backbone=resnet(backbone),
        size=size,
        heads=heads,
        batch=batch,
        part=part,
        precision=precision,
    )
    sets = teachers.TrainingSets.read(data, seed=data_seed, data_dir=data_dir, instances=instances)
    student = setting.training(STUDENT, student_steps)
    downstream = transfers(
        transfer_names, setting, data=data, data_dir=data_dir, seed=data_seed,
        steps=transfer_steps, learning_rates=learning_rates, rates_from=rates_from,
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
        # The union, as pools: their ground truth wins, every image is equally likely, and images
        # that are in a downstream test split are found and left out.
        pools=tuple(
            Pool(source=part.train) for part in (sets.imagenet, sets.objects365, sets.coco)
        ),
        student=Student(training=student, union=False),
        supervised=student,
        selfsup=setting.selfsup(student, start=FromScratch()),
        transfers=downstream,
        starts=starts,
        transfer_seeds=transfer_seeds,
        mode=mode,
        neck=neck,
        shots=shots,
        evaluation_batch=evaluation_batch,
    )
