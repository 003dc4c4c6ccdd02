"""Repeat-factor sampling: images with rare classes come more often in an epoch."""

import dataclasses
import logging
from collections.abc import Sequence
from numbers import Real

import numpy as np

from must_keras.data.examples import ConcatenatedExamples, LabeledExamples
from must_keras.errors import UserError, expect, nearest
from must_keras.log import LOG
from must_keras.progress import track
from must_keras.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatFactors:
    """How often each training image comes in an epoch, by the rarest class that it shows.

    A class that a share f of a head's labeled images show has the factor max(1, sqrt(t / f)), and
    an image the largest factor of its classes, over all heads. The fraction of a factor is rounded
    up or down at random, once: with a factor of 1.3 about three of ten images come twice. Labels of
    all training images are read before the first step, and no image.

    Attributes:
        threshold: t, in (0, 1]: classes that at least this share of images show are not repeated.
        heads: whose classes count; () for all heads with classes.
        ground_truth_only: whether pseudo labels do not count: images without ground truth come
            once, and frequencies are those of ground truth.

    Raises:
        UserError: a value is of another type or range.

    Example:
        mk.Student(training=training, repeat_factors=mk.RepeatFactors(threshold=0.01))

    Reference: LVIS (arXiv 1908.03195), appendix B.2, which rounds anew in each epoch.
    """

    threshold: float = 0.001
    heads: tuple[str, ...] = ()
    ground_truth_only: bool = False

    def __post_init__(self) -> None:
        where = "repeat_factors"
        expect(where, self, threshold=Real, heads=tuple, ground_truth_only=bool)
        if not 0.0 < self.threshold <= 1.0:
            raise UserError.of(where, "threshold", self.threshold, "expected a number in (0, 1]")

    def check(self, where: str, tasks: Sequence[Task]) -> None:
        """Raise UserError where a named head, or all of them, have no classes."""
        known = [task.name for task in tasks if task.labels.classes]
        for head in self.heads:
            if head not in known:
                problem = f"it is no head with classes; {nearest(head, known)}"
                raise UserError.of(where, "repeat_factors.heads", head, problem, allowed=known)
        if not known:
            raise UserError.of(where, "repeat_factors", self, "no head has classes; remove it")

    def repeated(
        self, examples: ConcatenatedExamples, *, seed: int, title: str, level: int = logging.INFO
    ) -> ConcatenatedExamples:
        """Return the examples in which images with rare classes come several times.

        Args:
            examples: each image once.
            seed: of the rounding.
            title: of the training; begins a log line.
            level: of that line.
        """
        factors = image_factors(*self._present(examples, title), threshold=self.threshold)
        times = rounded(factors, np.random.default_rng(seed))
        ends = np.cumsum([len(part) for part in examples.parts])[:-1]
        of_parts = zip(examples.parts, np.split(times, ends), strict=True)
        parts = [part.repeated(of_part) for part, of_part in of_parts]
        LOG.log(
            level,
            f"{title}: repeat factors up to {factors.max():.3g}: {np.count_nonzero(times > 1)} of "
            f"{len(times)} images come more than once, {times.sum()} in an epoch",
        )
        return examples.of_parts(parts)

    def _present(self, examples: ConcatenatedExamples, title: str) -> tuple[np.ndarray, np.ndarray]:
        """Return which classes of all heads each image shows, and which it is labeled for."""
        tasks = [task for task in examples.tasks if task.labels.classes]
        tasks = [task for task in tasks if task.name in (self.heads or (task.name,))]
        origins = ("true",) if self.ground_truth_only else ("true", "pseudo")
        places = track(range(len(examples)), f"{title}: classes of images", len(examples))
        rows = [self._of_image(*examples.locate(i), tasks, origins) for i in places]
        present, labeled = zip(*rows, strict=True)
        return np.stack(present), np.stack(labeled)

    def _of_image(
        self, part: LabeledExamples, index: int, tasks: Sequence[Task], origins: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        labels, of_labels = part.labels_and_origins(index, tasks)
        present, labeled = [], []
        for task in tasks:
            counts = np.asarray(task.labels.count_classes(labels[task.name]))
            known = of_labels[task.name] in origins
            present.append((counts > 0) & known)
            labeled.append(np.full(len(counts), known))
        return np.concatenate(present), np.concatenate(labeled)


def image_factors(present: np.ndarray, labeled: np.ndarray, *, threshold: float) -> np.ndarray:
    """Return the repeat factor of each image, [N] float64, 1 and more.

    Args:
        present: [N, C] bool, the classes that each image shows.
        labeled: [N, C] bool, the classes whose head each image is labeled for.
        threshold: see RepeatFactors.
    """
    shares = present.sum(axis=0) / np.maximum(labeled.sum(axis=0), 1)
    of_classes = np.sqrt(threshold / np.maximum(shares, 1e-12))
    return np.where(present, np.maximum(of_classes, 1.0), 1.0).max(axis=1, initial=1.0)


def rounded(factors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return whole numbers whose expected values are the factors, [N] int64."""
    whole = np.floor(factors)
    return (whole + (random.random(len(factors)) < factors - whole)).astype(np.int64)
