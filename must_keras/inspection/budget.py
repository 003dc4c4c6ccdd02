"""Numbers of a recipe that follow from images alone: size of the input, and optimizer steps."""

import math
from collections.abc import Sequence

import numpy as np

from must_keras.data.choices import Chosen
from must_keras.training.config import TrainingConfig

# Sides of the network's input in pixels, multiples of 32.
_MIN_SIZE, _MAX_SIZE, _DIVISOR = 64, 256, 32
# Passes over the training images, and limits of the steps that make them.
_PASSES, _STEP_UNIT = 40, 50
TEACHER, STUDENT, TRANSFER = (200, 4000), (400, 16_000), (100, 2000)


def choose_size(long_sides: Sequence[int]) -> Chosen[int]:
    """Return the sides of the network's input in pixels.

    Args:
        long_sides: median of the longer sides of the images of each set; 0 where it is not known.
    """
    largest = max(long_sides, default=0) or _MAX_SIZE
    size = int(np.clip(_DIVISOR * round(largest / _DIVISOR), _MIN_SIZE, _MAX_SIZE))
    # Images may be smaller, or larger than a CPU trains on in minutes.
    return Chosen(
        size, f"px, a multiple of 32; images have up to {largest}; a larger size takes longer"
    )


def choose_steps(num_images: int, limits: tuple[int, int]) -> Chosen[int]:
    """Return the optimizer steps for 40 passes over training images, within limits.

    Example:
        choose_steps(900, TEACHER).value  # 2250
    """
    batches = _PASSES * num_images / TrainingConfig.batch
    steps = int(np.clip(_STEP_UNIT * math.ceil(batches / _STEP_UNIT), *limits))
    passes = steps * TrainingConfig.batch / num_images
    return Chosen(steps, f"{passes:.0f} passes over {num_images} images")
