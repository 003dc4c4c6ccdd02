"""Checks of stored labels and of what they mean, against the heads that learn from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data.sources.source import LabelSpace, Source, unknown_head
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.tasks.base import Task


def check_label(where: str, task: Task, label: Any) -> None:
    """Raise UserError where a stored label lacks a part, or one is of another shape."""
    specs = task.labels.stored_spec()
    expected = {key: spec for key, spec in specs.items() if not spec.optional or key in label}
    found = tuple(label) if isinstance(label, Mapping) else (f"a {type(label).__name__}",)
    where = f"{where}: its label of head {task.name!r}"
    if not expected.keys() <= set(found):
        raise UserError(
            f"{where} has {', '.join(map(str, found))}, expected the parts {', '.join(expected)}"
        )
    for key, spec in expected.items():
        shape = np.shape(label[key])
        if len(shape) != len(spec.shape) or any(
            side not in (None, given) for side, given in zip(spec.shape, shape, strict=True)
        ):
            wanted = ", ".join("any" if side is None else str(side) for side in spec.shape)
            raise UserError(f"{where} has {key!r} of the shape {shape}, expected ({wanted})")


def check_labels_head(where: str, source: Source, task: Task) -> None:
    """Raise UserError where a source has no labels for a head; `where` names who needs them."""
    if task.name not in source.label_spaces:
        problem = unknown_head(source.name, source.label_spaces, task.name)
        raise UserError(
            f"{where}: {problem}: the source's head= and the name of the task must be the same"
        )


def check_sets(where: str, sets: Splits | None, task: Task) -> None:
    """Raise UserError where a split of a set has no labels for a head."""
    for split in ("train", "validation", "test") if sets is not None else ():
        check_labels_head(f"{where}, {split}", getattr(sets, split), task)


def check_label_spaces(source: Source, tasks: Sequence[Task]) -> None:
    """Raise UserError where a source's labels have another meaning than the head's."""
    for task in tasks:
        space, own = source.label_spaces.get(task.name), LabelSpace.of(task)
        if space is not None and not isinstance(space, LabelSpace):
            raise UserError(
                f"source {source.name!r}: the label space of head {task.name!r} is {space!r}, "
                f"expected a LabelSpace, here {own!r}"
            )
        if space and task.labels.accepts(space.kind):
            space = dataclasses.replace(space, kind=own.kind)
        difference = space and space.difference(own)
        if difference:
            raise UserError(
                f"source {source.name!r} does not fit head {task.name!r} (the other): {difference}"
            )
