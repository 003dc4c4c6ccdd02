"""Which altered copies of an image are taken for it, and which other images are.

    python -m benchmarks.near_duplicates ../shared/data     # three minutes

One JSON line a set: the share of copies that are found, by what was done to them; for how many
images at even places (by path) the hash of one at an odd place is near, in either orientation, and
for how many that is confirmed; images a second. Then drawn scenes: the pools of three worlds
against the test splits of their own recipe.
"""

from __future__ import annotations

import io
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from experiments import scenes
from must_keras.data.sources import Concatenated, ImagesOnly, Source, Subset
from must_keras.pseudo_labels import duplicates

SETS = {
    "nuclei": ("inst_nuclei_coco/train", "inst_nuclei_coco/val"),
    "kitchen": ("depth_7scenes_redkitchen/rgb",),
    "street": ("seg_camvid/train", "seg_camvid/val", "seg_camvid/test"),
    "cards": ("det_cards_voc/JPEGImages",),
    "photos": ("inst_coco_mini/images", "unlabelled_coco_photos/images"),
    "caltech": ("cls_caltech101_a",),
    "cifar10": ("cls_cifar10",),
}
WORLDS = 3


class Altered(Subset):
    """A source's images after something was done to them."""

    def __init__(self, source: Source, change: Callable[[Image.Image], Image.Image]):
        super().__init__(source, range(len(source)), name=source.name)
        self._change = change

    def image(self, index: int) -> np.ndarray:
        return np.asarray(self._change(Image.fromarray(super().image(index))).convert("RGB"))


def jpeg(image: Image.Image) -> Image.Image:
    """Quality 50."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def half(image: Image.Image) -> Image.Image:
    """Half the size."""
    return image.resize((max(image.width // 2, 1), max(image.height // 2, 1)))


def lighter(image: Image.Image) -> Image.Image:
    """A tenth lighter and ten levels more, cut off at white."""
    return image.point(lambda value: min(255, round(value * 1.1 + 10)))


def cut(share: float) -> Callable[[Image.Image], Image.Image]:
    """A share of height and width cut off, half of it on each side."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        rest = share / 2 * width, share / 2 * height
        return image.resize(image.size, box=(*rest, width - rest[0], height - rest[1]))

    return change


def mirrored(image: Image.Image) -> Image.Image:
    """Left becomes right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image,
    "JPEG 50": jpeg,
    "half": half,
    "lighter": lighter,
    "cut 2 %": cut(0.02),
    "cut 4 %": cut(0.04),
    "gray": lambda image: image.convert("L"),
    "mirrored": mirrored,
    "all": lambda image: jpeg(half(cut(0.02)(lighter(mirrored(image))))),
}


def prints(source: Source) -> np.ndarray:
    """Of all its images."""
    return np.concatenate(list(duplicates.read(source)))


def hash_hits(images: np.ndarray, others: np.ndarray) -> int:
    """Of how many images a hash is near, in either orientation."""
    both = np.concatenate([others["hash"], others["mirrored"]])
    near = [np.bitwise_count(both ^ one).min() <= duplicates.MAX_DISTANCE for one in images["hash"]]
    return int(sum(near))


def of_files(root: pathlib.Path) -> Iterator[dict]:
    """A line for every set."""
    for name, folders in SETS.items():
        source = Concatenated([ImagesOnly(name=f, root=root / f) for f in folders], name=name)
        start = time.monotonic()
        own = prints(source)
        speed = len(source) / (time.monotonic() - start)
        found = {
            kind: len(duplicates.matches(prints(Altered(source, change)), own))
            for kind, change in COPIES.items()
        }
        halves = [prints(Subset(source, range(k, len(source), 2), name=name)) for k in (0, 1)]
        yield {
            "set": name,
            "images": len(source),
            "images_per_second": round(speed),
            "found": {kind: round(count / len(source), 4) for kind, count in found.items()},
            "near_hashes": hash_hits(*halves),
            "confirmed": len(duplicates.matches(*halves)),
        }


def of_scenes() -> Iterator[dict]:
    """A line for every world."""
    for world in range(WORLDS):
        recipe = scenes.recipe(data_seed=world)
        tests = {transfer.name: prints(transfer.sets.test) for transfer in recipe.transfers}
        others = np.concatenate(list(tests.values()))
        pool = prints(recipe.pools[0].source)
        yield {
            "set": f"drawn scenes {world}",
            "images": len(pool),
            "near_hashes": hash_hits(pool, others),
            "confirmed": len(duplicates.matches(pool, others)),
        }


def main() -> None:
    """Prints the lines."""
    for line in itertools.chain(of_files(pathlib.Path(sys.argv[1])), of_scenes()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
