"""Which scenes: a family, a size, a seed and the number of images of each split."""

from __future__ import annotations

import dataclasses

from must_keras.errors import UserError
from must_keras.synthetic.families import FAMILIES, Family


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """One data set of drawn scenes; TFDS takes it where it takes a BuilderConfig.

    Image i of a split depends on (family, data_seed, split, i) alone: another size shows the same
    worlds in other pixels, and a longer split begins with the shorter one's images.

    Attributes:
        family: a name in FAMILIES.
        size: height and width, pixels.
        data_seed: another one draws other worlds.
        train, validation, test: number of images; a split of 0 is not there.
        first: the i of a split's first image: sets that continue each other share no image.

    Example:
        SceneConfig(family="single", size=64, train=2000).name  # "single-64px-seed0-2000-200-400"

    """

    family: str
    size: int = 64
    data_seed: int = 0
    train: int = 2000
    validation: int = 200
    test: int = 400
    first: int = 0

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise UserError(f"family must be one of {sorted(FAMILIES)}, received {self.family!r}.")
        if self.size < 16:
            raise UserError(f"size must be at least 16 pixels, received {self.size}.")
        if min(self.data_seed, self.train, self.validation, self.test, self.first) < 0:
            raise UserError(f"data_seed and numbers of images must not be negative: {self}.")

    @property
    def name(self) -> str:
        """Unique for these values; the folder of the prepared data set."""
        counts = f"{self.train}-{self.validation}-{self.test}"
        first = f"-from{self.first}" if self.first else ""
        return f"{self.family}-{self.size}px-seed{self.data_seed}-{counts}{first}"

    @property
    def splits(self) -> dict[str, int]:
        """Number of images of each split that is there."""
        counts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: count for split, count in counts.items() if count}

    @property
    def recipe(self) -> Family:
        """What the family draws."""
        return FAMILIES[self.family]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the one-object pictures' classes; empty where the set has none."""
        return self.recipe.vocabulary.classes

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the boxes' labels."""
        return self.recipe.vocabulary.categories

    @property
    def semantic_classes(self) -> tuple[str, ...]:
        """Names of the semantic map's values: the stuff, then the things."""
        return self.recipe.vocabulary.stuff + self.recipe.vocabulary.things

    # What else TFDS reads of a BuilderConfig; properties, so that drawing needs no TensorFlow.
    version = None
    release_notes = None
    supported_versions = ()
    tags = ()

    @property
    def description(self) -> str:
        """One line for TFDS's metadata."""
        return f"Drawn scenes of the family {self.family}, {self.size} px, seed {self.data_seed}."
