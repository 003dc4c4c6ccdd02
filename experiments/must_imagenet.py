"""MuST on ImageNet: four teachers label its images, one student learns all four tasks.

Ghiasi et al. (2021): teachers learn classes of ImageNet, boxes of Objects365 and maps of COCO, and
MiDaS predicts depth; the student sees the images of ImageNet alone, with their classes and pseudo
labels for the rest; its backbone is fine-tuned on six other sets.

Command:   python -m must_keras.main --experiment=must_imagenet:data=data,depth_model=midas.keras
Smaller:   ...,backbone=resnet50,batch=64; any part of it by --stage and --only
To try it: ...,backbone=small,heads=narrow,size=64,batch=4,precision=float32 and few steps run every
           stage on your files in some minutes, on a CPU, and learn nothing

What has to be there
    By TFDS, in --data_dir: imagenet2012 (put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar
    into <data_dir>/downloads/manual), cifar100, voc/2007, voc/2012, nyu_depth_v2.
    In data, as the archives unpack (see the docstrings of must_keras/data/public_sets.py):
        objects365/annotations/zhiyuan_objv2_{train,val}.json, {train,val}/patch*/*.jpg
        coco/{train2017,val2017}/*.jpg, annotations/panoptic_{train2017,val2017}.json and the
            folders of the same names with the PNGs
        diode/{train,val}/{indoors,outdoor}/scene_*/scan_*/*.png, *_depth.npy, *_depth_mask.npy,
            *_normal.npy
        VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets}
        ADEChallengeData2016/{images,annotations}/{training,validation}, objectInfo150.txt
    A MiDaS in Keras or as a SavedModel (docs/how_to/external_teachers.md): depth_model. What a
    transfer needs only if it is among transfer_names; DIODE always, since its depth scores the
    depth.

Hardware:  8 GPUs of 80 GB, 16 cores for the input (150 to 185 images a second and core at 640 px,
           with maps or classes: benchmarks/README.md), 32 GB of memory
Hours:     computed from counted work, not measured on such GPUs. Forward, in TFLOP an image of
           640 px (benchmarks/paper_recipes.py counts them), a training step taking three times as
           much:

                         images              ResNet-50         ResNet-152
               classes   28,000 x 4,096      0.063    15 h     0.184     44 h
               boxes     162,000 x 256       0.230    20 h     0.351     30 h
               maps      162,000 x 256       0.168    15 h     0.290     25 h
               student   450,000 x 256       0.413    99 h     0.534    128 h
               transfers 450,000 x 256       0.16     38 h     0.28      67 h

           hours = images x 3 x TFLOP / 400 TFLOP/s / 3,600, with 50 TFLOP/s sustained by each of 8
           GPUs, which is assumed (a sixth of an A100's peak in bfloat16) and was measured nowhere.
           On two CPU cores the student's step on 3 images takes 12.0 s (15.3 s with a ResNet-152),
           0.81 (0.88) of the rate of a large matmul there: little but counted work takes time.
           Transfers: 6 sets x 5 starts x 3 rates x 5,000 steps; TFLOP are the mean of their heads,
           four of which are as that of maps. Labeling: about 1 TFLOP an image, which is an hour,
           and MiDaS's own time. Where they are among the starts: supervised as the student, SimCLR
           (two views through the backbone) 30 and 88 h, MoCo (one of them without a gradient) 20
           and 59 h.
Images:    teachers see as many as their own schedules: 114.7, 41.5 and 41.5 million beside the
           student's 115.2. With classification_steps=28125,detection_steps=450000,
           segmentation_steps=450000 every trained start draws as many, for 61 h more (ResNet-50)
Memory:    1.6 GiB an image for a student with a ResNet-50 in float32, 2.5 with a ResNet-152,
           between batches of 1 and 3 on a CPU (benchmarks/paper_recipes.py); bfloat16 should need
           half, so that 32 images on each of 8 GPUs take 26 and 40 GiB. part=128 computes a batch
           in twice as many parts
Expected:  nothing that was measured: this recipe has been run on tiny sets in the layouts of the
           real ones, never on them

The paper's    the teachers' tasks, sets and starts (from scratch; depth from MiDaS), soft classes,
               thresholds of 0.5, ground-truth labels first, one step for all tasks, loss weights by
               (b_s lr_t) / (b_t lr_s), the student's heads and ResNet-152 at 640 px, and that
               teachers and students share architecture and augmentation
A proxy        from the same authors' other code: the teachers' batches, rates and weight decay, the
               views, 256 channels, label smoothing, SGD with momentum, bfloat16; for
               SimCLR and MoCo the batch, rate and decay of MoCo v2
Not known      every number of steps: ImageNet's 90 epochs of ResNet classification are taken for
               the teacher and for the student, and the images of 350 epochs of COCO, the proxy's
               detection from scratch, for the two others. The student's batch, rate and views:
               taken from the proxy for detection. The depth loss's weight, which the paper swept:
               1 is taken, what the formula gives a teacher that is trained like the student;
               sweep depth_weight. Whether depth is the exact loss of MiDaS: taken as it is in
               tasks/depth. Which MiDaS, and whether it was fine-tuned, on which sources differ: it
               is used as it is. Which classes of COCO: its panoptic 133 are taken. The transfers'
               sets and metrics are remembered and unverified, their steps and rates this project's.
Options        ours, all off: mixed images, strong views, a share of ground truth, repeated images,
               features of a frozen network, dropped heads
               (docs/reference/training_options.md), ignored boxes, scores as weights, domain
               gates, labels of some sources alone, thresholds by precision
               (docs/how_to/thresholds.md), fitted anchors, self-training rounds and labelers,
               epochs (docs/how_to/ablations.md). Learned loss weights are the paper's on JFT, as
               far as remembered, and off. Ours and on: test images of the downstream sets are
               left out
Otherwise      Objects365 is its second release (1.74 million images, the one that can be
               downloaded), classes are learned at 640 px too, and CIFAR-100's 32 pixels are made
               640: a network has one size here.
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
    """
    setting = Setting(
        backbone=resnet(backbone),
        size=size,
        heads=heads,
        batch=batch,
        part=part,
        precision=precision,
    )
    sets = teachers.TrainingSets.read(data, seed=data_seed, data_dir=data_dir)
    student = setting.training(STUDENT, student_steps)
    downstream = transfers(
        transfer_names, setting, data=data, data_dir=data_dir, seed=data_seed,
        steps=transfer_steps, learning_rates=learning_rates, rates_from=rates_from,
    )  # fmt: skip
    return Recipe(
        name="must_imagenet",
        seed=seed,
        network=setting.network,
        teachers=(
            teachers.classification(sets, setting, steps=classification_steps),
            teachers.detection(sets, setting, steps=detection_steps),
            teachers.segmentation(sets, setting, steps=segmentation_steps),
            teachers.depth(
                sets, setting, model=depth_model, size=depth_size, loss_weight=depth_weight
            ),
        ),
        # ImageNet alone: its true classes win, and three teachers say the rest.
        pools=(Pool(source=sets.imagenet.train),),
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
