"""Tiny folders and TFDS data sets that lie and look as the real public sets do."""

import io
import json
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fakes import published_models

HEIGHT, WIDTH = 48, 64
# Of category ids with gaps, as COCO's are; the last two are stuff.
PANOPTIC = {1: "person", 3: "car", 92: "banner", 200: "rug-merged"}
VOC = ("aeroplane", "bicycle", "bird")
# MiDaS's input here, pixels.
DEPTH_SIZE = 64


def photo(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Coarse noise, different for every seed: [height, width, 3] uint8."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST))


def save(path: pathlib.Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if "palette" in options:
        image.putpalette(options["palette"])
    image.save(path)


# ---- TFDS: the real builders' features, versions and folders ------------------------------------


def tfds_sets(data_dir: pathlib.Path) -> None:
    """imagenet2012, cifar100, voc/2007, voc/2012 and nyu_depth_v2, prepared."""
    _prepare("imagenet2012", data_dir, {"train": 12, "validation": 6}, _imagenet)
    cifar100(data_dir)
    _prepare("voc/2007", data_dir, {"train": 8, "validation": 4, "test": 6}, _voc)
    _prepare("voc/2012", data_dir, {"train": 6, "validation": 4}, _voc)
    _prepare("nyu_depth_v2", data_dir, {"train": 10, "validation": 4}, _nyu_depth)


def cifar100(data_dir: pathlib.Path) -> None:
    """cifar100, prepared."""
    _prepare("cifar100", data_dir, {"train": 12, "test": 6}, _cifar100)


def nyu_depth(data_dir: pathlib.Path) -> None:
    """nyu_depth_v2, prepared."""
    _prepare("nyu_depth_v2", data_dir, {"train": 3, "validation": 2}, _nyu_depth)


def pets(data_dir: pathlib.Path) -> None:
    """oxford_iiit_pet, prepared."""
    _prepare("oxford_iiit_pet", data_dir, {"train": 12, "test": 4}, _pet)


def lost_and_found(data_dir: pathlib.Path) -> None:
    """lost_and_found, prepared."""
    _prepare("lost_and_found", data_dir, {"train": 3, "test": 2}, _lost_and_found)


def mocked(name: str, data_dir: pathlib.Path) -> list[dict]:
    """Prepares a set of ten training and eight validation images that TFDS mocks.

    Returns:
        The training images, in the order in which TFDS stores them.
    """
    with tfds.testing.mock_data(num_examples=18):
        builder = tfds.builder(name, data_dir=str(data_dir / "mock"))
        examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    stored = iter(examples)
    splits = {"train": 10, "validation": 8} if name.startswith("so2sat") else {"train": 10}
    _prepare(name, data_dir, splits, lambda _: next(stored))
    builder = tfds.builder(name, data_dir=str(data_dir))
    return list(tfds.as_numpy(builder.as_dataset(split="train", shuffle_files=False)))


def _prepare(name: str, data_dir: pathlib.Path, splits: dict[str, int], example) -> None:
    """Lets TFDS's own builder write examples of ours: its features check and encode them."""
    builder = tfds.builder(name, data_dir=str(data_dir))
    first = sum(name.encode()) * 1000

    def generate(first, count):
        for index in range(first, first + count):
            yield f"{index}", example(index)

    def split_generators(manager):
        found = {}
        for place, (split, count) in enumerate(splits.items()):
            found[split] = generate(first + 100 * place, count)
        return found

    builder._split_generators = split_generators
    builder.download_and_prepare()


def _jpeg(pixels: np.ndarray) -> io.BytesIO:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    stream.seek(0)
    return stream


def _imagenet(index: int) -> dict:
    label = index % 1000
    return {"image": _jpeg(photo(index)), "label": label, "file_name": f"n0_{index}.JPEG"}


def _cifar100(index: int) -> dict:
    label = index % 100
    return {"id": f"{index}", "image": photo(index, 32, 32), "label": label, "coarse_label": 3}


def _pet(index: int) -> dict:
    mask = np.full((HEIGHT, WIDTH, 1), 2, np.uint8)
    mask[8:30, 10:40] = 3
    mask[10:28, 12:38] = 1
    return {
        "image": _jpeg(photo(index)), "label": index % 37, "species": index % 2,
        "file_name": f"{index}.jpg", "segmentation_mask": mask, "head_bbox": tfds.features.BBox(ymin=0.1, xmin=0.1, ymax=0.5, xmax=0.5),
    }  # fmt: skip


def _lost_and_found(index: int) -> dict:
    mask = np.zeros((1024, 2048, 1), np.uint8)
    mask[500:] = 1
    image = np.full((1024, 2048, 3), index % 256, np.uint8)
    return {"image_left": image, "segmentation_label": mask, "image_id": "a"}


def _voc(index: int) -> dict:
    def thing(label: str, difficult: bool) -> dict:
        return {
            "label": label,
            "bbox": tfds.features.BBox(0.25, 0.125, 0.75, 0.5),
            "pose": "frontal",
            "is_truncated": False,
            "is_difficult": difficult,
        }

    things = [thing(VOC[index % 3], difficult=False), thing("person", difficult=True)]
    return {
        "image": _jpeg(photo(index)),
        "image/filename": f"{index:06}.jpg",
        "objects": things,
        "labels": [t["label"] for t in things],
        "labels_no_difficult": [things[0]["label"]],
    }


def _nyu_depth(index: int) -> dict:
    depth = np.full((480, 640), 1 + index % 3, np.float16)
    depth[:240] = 4.0
    return {"image": photo(index, 480, 640), "depth": depth}


# ---- folders ------------------------------------------------------------------------------------


def folders(root: pathlib.Path) -> None:
    """What TFDS does not have, as the archives of the sets unpack."""
    objects365(root / "objects365")
    coco(root / "coco")
    voc2012(root / "VOCdevkit" / "VOC2012")
    ade20k(root / "ADEChallengeData2016")
    diode(root / "diode")


def midas(path: pathlib.Path) -> None:
    """A depth network with MiDaS's conventions."""
    published_models.midas(path, DEPTH_SIZE)


def objects365(root: pathlib.Path) -> None:
    """Training images in two patches, of which one image is absent; val as its archives unpack."""
    categories = [{"id": i, "name": f"thing {i}"} for i in range(1, 366)]
    (root / "annotations").mkdir(parents=True)
    for split, count, folder in (("train", 12, "train"), ("val", 6, "val/images/v1")):
        images, annotations = [], []
        for i in range(count):
            patch = f"patch{(0, 16)[i % 2]}" if split == "train" else "patch0"
            release = "v2" if patch == "patch16" else "v1"
            name = f"{patch}/objects365_{release}_{i:08}.jpg"
            images.append(
                {
                    "id": 700 + 3 * i, "file_name": f"images/{release}/{name}",
                    "height": HEIGHT, "width": WIDTH, "license": 5, "url": "",
                }
            )  # fmt: skip
            if split == "val" or i != 11:
                seed = (1000 if split == "train" else 2000) + i
                save(root / folder / name, photo(seed))
            # x, y, width, height.
            box = [8.0 + i, 4.0, 16.0, 32.0]
            for category, crowd in ((1 + i, 0), (365, i == 1)):
                annotations.append(
                    {
                        "id": len(annotations), "image_id": 700 + 3 * i, "category_id": category,
                        "bbox": box, "area": 512.0, "iscrowd": int(crowd), "isfake": 0,
                        "isreflected": 0,
                    }
                )  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = root / "annotations" / f"zhiyuan_objv2_{split}.json"
        path.write_text(json.dumps(content))


def coco(root: pathlib.Path) -> None:
    """Panoptic maps and instances of the same images."""
    things = {1: "person", 3: "car", 90: "toothbrush"}
    for split, count in (("train2017", 12), ("val2017", 6)):
        images, maps, instances = [], [], []
        for i in range(count):
            image_id = 9 + 16 * i
            size = {"height": HEIGHT, "width": WIDTH}
            images.append({"id": image_id, "file_name": f"{image_id:012}.jpg", **size})
            seed = (3000 if split == "train2017" else 4000) + i
            save(root / split / f"{image_id:012}.jpg", photo(seed))
            # Void above; below a person, and a rug whose number needs all three bytes.
            numbers = np.zeros((HEIGHT, WIDTH), np.int64)
            numbers[16:, :32], numbers[16:, 32:] = 77, 70_000 + i
            colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 256**2], -1)
            name = f"{image_id:012}.png"
            save(root / "annotations" / f"panoptic_{split}" / name, colors.astype(np.uint8))
            segments = [
                {"id": 77, "category_id": 1, "iscrowd": 0, "bbox": [0, 16, 32, 32], "area": 1024},
                {
                    "id": 70_000 + i, "category_id": 200, "iscrowd": 0, "bbox": [32, 16, 32, 32],
                    "area": 1024,
                },
            ]  # fmt: skip
            maps.append({"image_id": image_id, "file_name": name, "segments_info": segments})
            instances.append(
                {
                    "id": i, "image_id": image_id, "category_id": 90, "bbox": [0, 16, 32, 32],
                    "area": 1024, "iscrowd": 0,
                    "segmentation": [[0, 16, 32, 16, 32, 48, 0, 48]],
                }
            )  # fmt: skip
        panoptic = {
            "info": {"year": 2017},
            "licenses": [],
            "images": images,
            "annotations": maps,
            "categories": [
                {"id": i, "name": name, "isthing": int(i < 91), "supercategory": "x"}
                for i, name in PANOPTIC.items()
            ],
        }
        path = root / "annotations" / f"panoptic_{split}.json"
        path.write_text(json.dumps(panoptic))
        content = {
            "images": images,
            "annotations": instances,
            "categories": [{"id": i, "name": name} for i, name in things.items()],
        }
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))


def voc2012(root: pathlib.Path) -> None:
    """Photos, palette maps of some of them, and the lists of these."""
    palette = np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes()
    names = [f"2007_{i:06}" for i in range(18)]
    for i, name in enumerate(names):
        save(root / "JPEGImages" / f"{name}.jpg", photo(5000 + i))
    for name in names[:16]:
        classes = np.zeros((HEIGHT, WIDTH), np.uint8)
        classes[10:30, 10:40], classes[10:30, 40:44] = 15, 255
        save(root / "SegmentationClass" / f"{name}.png", classes, palette=palette)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:10]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[10:16]) + "\n")


def ade20k(root: pathlib.Path) -> None:
    """Gray maps of 0 ("other") to 150, and the table of the classes."""
    for split, count in (("training", 10), ("validation", 5)):
        for i in range(count):
            name = f"ADE_{'train' if split == 'training' else 'val'}_{i + 1:08}"
            seed = (6000 if split == "training" else 7000) + i
            save(root / "images" / split / f"{name}.jpg", photo(seed))
            classes = np.zeros((HEIGHT, WIDTH), np.uint8)
            classes[20:], classes[20:, 32:] = 1, 150
            save(root / "annotations" / split / f"{name}.png", classes)
    rows = [f"{i}\t0.01\t10\t5\tclass {i}, its synonym" for i in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))


def diode(root: pathlib.Path) -> None:
    """Three scenes to train on, two to validate; normals as DIODE has them: Y up, Z to us."""
    scenes = {"train": (("indoors", 0), ("indoors", 1), ("outdoor", 2)), "val": (("indoors", 19),)}
    for split, found in scenes.items():
        for place, scene in found:
            for i in range(4):
                name = f"{scene:05}_{scene:05}_{place}_{10 * i:03}_000"
                folder = root / split / place / f"scene_{scene:05}" / f"scan_{scene:05}"
                save(folder / f"{name}.png", photo(8000 + 10 * scene + i))
                depth = np.full((HEIGHT, WIDTH, 1), 2.0, np.float32)
                depth[24:], depth[:, :8] = 3.5 + i, 50.0
                mask = np.ones((HEIGHT, WIDTH), np.float32)
                mask[:, :8] = 0
                normals = np.zeros((HEIGHT, WIDTH, 3), np.float64)
                # A wall that faces us, and a floor whose normal points up.
                normals[:24, 8:], normals[24:, 8:] = (0.0, 0.0, 1.0), (0.0, 0.8, 0.6)
                for end, values in (("depth", depth), ("depth_mask", mask), ("normal", normals)):
                    np.save(folder / f"{name}_{end}.npy", values)
