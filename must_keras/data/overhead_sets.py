"""Public sets of images from above, by TFDS, with the splits of Neumann et al.

"In-domain representation learning for remote sensing" (arXiv 1911.06721) cuts TFDS' only training
split in order: 60 % for training, 20 % for validation, 20 % for test; of So2Sat, TFDS' validation
split in 25 % and 75 %. That is what google-research/remote_sensing_representations computes. Its
lists of file names are those of TFDS' order of 2019; another version of a set may have another.

Arguments that all functions share:

    head      head that the labels are for
    data_dir  folder in which TFDS keeps its data sets; None for its default

All raise UserError where TFDS cannot prepare a set.

Example:
    sets = overhead_sets.eurosat(head="eurosat")
    len(sets.train), len(sets.validation), len(sets.test)  # (16200, 5400, 5400)
"""

from collections.abc import Callable, Mapping

import tensorflow_datasets as tfds

from must_keras.data.sources import Reading, TfdsSource, class_reading, tags_reading, tfds_builder
from must_keras.data.splits import Splits

_IN_ORDER = {"train": "train[:60%]", "validation": "train[60%:80%]", "test": "train[80%:]"}
_SO2SAT = {"train": "train", "validation": "validation[:25%]", "test": "validation[25%:]"}


def eurosat(*, head: str, data_dir: str | None = None) -> Splits:
    """Return EuroSAT: 27,000 images of 64 pixels, 10 m each, in 10 classes of land use.

    TFDS downloads it (90 MB). Colors are those of Sentinel-2.
    """
    return _splits("eurosat", "eurosat/rgb", class_reading, _IN_ORDER, head, data_dir)


def resisc45(*, head: str, data_dir: str | None = None) -> Splits:
    """Return NWPU-RESISC45: 31,500 images of 256 pixels, 0.2 to 30 m each, in 45 classes.

    TFDS cannot download it: unpack NWPU-RESISC45.rar into <data_dir>/downloads/manual.
    """
    return _splits("resisc45", "resisc45", class_reading, _IN_ORDER, head, data_dir)


def uc_merced(*, head: str, data_dir: str | None = None) -> Splits:
    """Return UC Merced: 2,100 images of about 256 pixels, 0.3 m each, in 21 classes.

    TFDS downloads it (317 MB).
    """
    return _splits("uc_merced", "uc_merced", class_reading, _IN_ORDER, head, data_dir)


def so2sat(*, head: str, data_dir: str | None = None) -> Splits:
    """Return So2Sat: 376,485 images of 32 pixels, 10 m each, in 17 local climate zones.

    TFDS downloads it (49 GB). Training and test images are of different cities.
    """
    return _splits("so2sat", "so2sat/rgb", class_reading, _SO2SAT, head, data_dir)


def bigearthnet(*, head: str, data_dir: str | None = None) -> Splits:
    """Return BigEarthNet: 590,326 images of 120 pixels, 10 m each, with some of 43 tags.

    TFDS downloads it (66 GB). Images under clouds and snow are among them, as in the paper.
    """
    return _splits("bigearthnet", "bigearthnet/rgb", tags_reading, _IN_ORDER, head, data_dir)


def _splits(
    name: str,
    dataset: str,
    reading: Callable[[tfds.core.DatasetBuilder], Reading],
    parts: Mapping[str, str],
    head: str,
    data_dir: str | None,
) -> Splits:
    builder = tfds_builder(dataset, data_dir)
    # A reading for each: what it notices is of one source's files.
    return Splits(
        **{
            part: TfdsSource(
                name=name if part == "train" else f"{name}_{part}",
                builder=builder,
                split=split,
                labels={head: reading(builder)},
            )
            for part, split in parts.items()
        }
    )
