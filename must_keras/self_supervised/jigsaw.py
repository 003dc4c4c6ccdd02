"""Jigsaw: in which order are the patches of the image shuffled?

Noroozi, Favaro: "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV
2016 (arXiv 1603.09246); as one shuffled image: Carlucci, D'Innocente, Bucci, Caputo, Tommasi:
"Domain Generalization by Solving Jigsaw Puzzles", CVPR 2019 (arXiv 1903.06864).
"""

import dataclasses
import functools
import itertools
import math

import numpy as np
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor
from must_keras.self_supervised.changes import CROPS, Changed, ChangeRecognition
from must_keras.self_supervised.views import RandomViews

# More are as hard to find as to tell apart.
_MAX_GRID, _MAX_ORDERS = 3, 1000


@functools.cache
def permutations(grid: int, number: int) -> tuple[tuple[int, ...], ...]:
    """Return orders of grid x grid patches that differ in as many places as possible.

    The first is the original order. Each further one is, of all, the one whose smallest Hamming
    distance to those before is largest, the first of equals in lexicographic order: the algorithm
    of arXiv 1603.09246, without its random choices.

    Args:
        grid: patches a side.
        number: of orders.

    Example:
        permutations(2, 3)  # ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1))
    """
    every = np.array(list(itertools.permutations(range(grid * grid))), np.int8)
    chosen, distance = [0], np.full(len(every), grid * grid + 1)
    while len(chosen) < number:
        distance = np.minimum(distance, np.sum(every != every[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return tuple(tuple(map(int, every[index])) for index in chosen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shuffled(Changed):
    """A random view of which the patches of a grid are in another order.

    Pixels beyond a whole number of patches, at the bottom and at the right, stay.

    Attributes:
        grid: patches a side.
        orders: number of orders.

    Example:
        Shuffled(grid=2, orders=3).classes  # ("0 1 2 3", "1 0 3 2", "2 3 0 1")
    """

    grid: int = 3
    orders: int = 30

    @property
    def classes(self) -> tuple[str, ...]:
        """The orders: at each place of the grid, row by row, the number of its patch."""
        return tuple(" ".join(map(str, order)) for order in permutations(self.grid, self.orders))

    def change(self, image: Tensor, choice: Tensor) -> Tensor:
        n = self.grid
        side = image.shape[0] // n
        inner = n * side
        patches = ops.reshape(image[:inner, :inner], (n, side, n, side, 3))
        patches = ops.reshape(ops.transpose(patches, (0, 2, 1, 3, 4)), (n * n, side, side, 3))
        table = ops.convert_to_tensor(permutations(n, self.orders), dtype="int32")
        patches = ops.take(patches, ops.take(table, choice, axis=0), axis=0)
        patches = ops.transpose(ops.reshape(patches, (n, n, side, side, 3)), (0, 2, 1, 3, 4))
        rows = ops.concatenate(
            [ops.reshape(patches, (inner, inner, 3)), image[:inner, inner:]], axis=1
        )
        return ops.concatenate([rows, image[inner:]], axis=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jigsaw(ChangeRecognition):
    """A self-labeled task: in which order are the patches of a view?

    Attributes:
        views: of the view before it is shuffled: crops alone by default.
        grid: patches a side, 2 or 3.
        orders: how many orders there are to choose from, the original one among them.

    Raises:
        UserError: a value is of another range.

    Example:
        jigsaw = mk.SelfLabeled(task=mk.Jigsaw(grid=2, orders=24), loss_weight=0.5)
        mk.Student(training=training, self_labeled=(jigsaw,))

    Reference: one shuffled image, 3 x 3 patches and 30 orders are those of arXiv 1903.06864.
    """

    name: str = "jigsaw"
    views: RandomViews = CROPS
    grid: int = 3
    orders: int = 30

    def __post_init__(self) -> None:
        where = f"self-labeled task {self.name!r}"
        if self.grid not in range(2, _MAX_GRID + 1):
            raise UserError.of(
                where, "grid", self.grid, f"expected 2 to {_MAX_GRID} patches a side"
            )
        most = min(math.factorial(self.grid**2), _MAX_ORDERS)
        if self.orders not in range(2, most + 1):
            problem = f"expected 2 to {most} orders of {self.grid**2} patches"
            raise UserError.of(where, "orders", self.orders, problem)
        super().__post_init__()

    @property
    def stream(self) -> Shuffled:
        """The shuffled view."""
        return Shuffled(views=self.views, grid=self.grid, orders=self.orders)
