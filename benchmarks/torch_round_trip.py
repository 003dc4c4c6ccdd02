"""From a file of torchvision's ResNet-50 through a run to ONNX, and back into torchvision.

    python -m benchmarks.torch_round_trip ../shared/data runs/torch --torch=TORCH/bin/python

TORCH is a virtual environment with torchvision and safetensors; this one needs the extras export
and checkpoints. A random network of torchvision is the start of two teachers (Caltech's classes,
CamVid's maps) and of a student, which are trained for a few steps; the student is exported to ONNX
and compared with the Keras model on test images, and its backbone goes back into torchvision's
network, strictly.

Prints a JSON line for each: the export's comparison of every head; the largest difference between
C5 of torchvision with the student's weights and of the student's backbone, as a share of the
largest value; how far the training moved the weights; seconds.
"""

import argparse
import json
import pathlib
import subprocess
import time

import numpy as np

import must_keras as mk

PROGRAM = pathlib.Path(__file__).parent / "peers" / "torchvision_resnet50.py"
# CamVid's, in the order of its values; 11 is "unlabeled".
STREET = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip


def recipe(data: pathlib.Path, weights: pathlib.Path, *, size: int, steps: int) -> mk.Recipe:
    """Return two teachers and a student that start from torchvision's weights.

    Args:
        data: the folder of the sets.
        weights: torchvision's file.
        size: pixels a side.
        steps: of each training.
    """
    train, test = (
        mk.FolderPerClass(
            name=f"animals{end}", root=data / "cls_caltech101_a" / part, head="animals"
        )
        for part, end in (("train", ""), ("test", "_test"))
    )
    animals = mk.Splits.with_test(train, test, validation=100)
    street = mk.Splits(
        **{
            use: mk.LabelMaps(
                name=f"street_{use}",
                images=data / "seg_camvid" / part,
                maps=data / "seg_camvid" / f"{part}annot",
                head="street",
                classes=STREET,
                ignore=(11,),
            )
            for use, part in (("train", "train"), ("validation", "val"), ("test", "test"))
        }
    )
    training = mk.TrainingConfig(steps=steps, batch=4, learning_rate=0.01, optimizer=mk.SGD())
    return mk.Recipe(
        name="torch",
        network=mk.Network(backbone=mk.TorchResNet(50, weights=weights), size=size, channels=32),
        teachers=(
            mk.Teacher(
                task=mk.Classification.of(train, name="animals"),
                sets=animals,
                training=training,
                start=mk.FromCheckpoint(),
            ),
            mk.Teacher(
                task=mk.Segmentation(name="street", classes=STREET, channels=32, num_convs=1),
                sets=street,
                training=training,
                start=mk.FromCheckpoint(),
                threshold=0.5,
            ),
        ),
        pools=(mk.Pool(source=mk.ImagesOnly(name="photos", root=data / "unlabelled_coco_photos")),),
        student=mk.Student(training=training, start=mk.FromCheckpoint(), union=False),
        exports=(mk.Onnx(),),
        evaluation_batch=16,
    )


def main() -> None:
    """Make the run in the given folder, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path, help="folder of the sets")
    parser.add_argument("workdir", type=pathlib.Path, help="of the run")
    parser.add_argument("--torch", required=True, help="a Python with torchvision and safetensors")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--steps", type=int, default=4, help="of each training")
    given = parser.parse_args()
    folder = given.workdir.with_name(f"{given.workdir.name}-files")
    folder.mkdir(parents=True, exist_ok=True)

    def in_torch(step: str) -> None:
        subprocess.run([given.torch, str(PROGRAM), step, str(folder)], check=True)

    start = time.monotonic()
    weights = folder / "resnet50.pth"
    if not weights.is_file():  # The same one where a run is resumed.
        in_torch("make")
    made = recipe(given.data, weights, size=given.size, steps=given.steps)
    run = mk.run(made, given.workdir)
    compared = json.loads((run.path / "export" / "export.json").read_text())
    for head, like in compared["formats"]["onnx"]["heads"].items():
        print(json.dumps({"figure": f"onnx, {head}", **like}))
    for file, like in compared["reloaded"].items():
        print(json.dumps({"figure": file, **like}))
    backbone = run.backbone()
    mk.save_torch_resnet(backbone, folder / "student.safetensors")
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (2, 96, 160, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    in_torch("load")
    ours, theirs = np.asarray(backbone(images)["C5"]), np.load(folder / "c5.npy")
    difference = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    print(json.dumps({"figure": "C5 in torchvision, strict=True", "difference": difference}))
    first = mk.TorchResNet(50, weights=weights).checkpoint()
    moved = [float(np.abs(a - b).max()) for a, b in zip(backbone.get_weights(), first, strict=True)]
    print(
        json.dumps(
            {
                "figure": "largest change of a weight or a statistic by the training",
                "value": max(moved),
            }
        )
    )
    print(json.dumps({"figure": "seconds", "value": round(time.monotonic() - start)}))


if __name__ == "__main__":
    main()
