"""Outputs of a head that no training label teaches: they are left out wherever the head is used.

A detector that is trained on boxes alone has a mask head with random weights. Its masks are not
stored as pseudo labels, scored, shown, served or exported: MultiTaskModel.untaught lists them, and
every model that is saved contains the list.
"""

from collections.abc import Collection, Mapping, Sequence

from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, untaught
from must_keras.errors import DataError, UserError, warn
from must_keras.log import LOG
from must_keras.tasks.base import Task
from must_keras.training.initialization import Start
from must_keras.training.model import MultiTaskModel
from must_keras.training.strategy import is_chief

Untaught = Mapping[str, Sequence[str]]
AnyExamples = LabeledExamples | ConcatenatedExamples


def find(
    model: MultiTaskModel, examples: AnyExamples, *, copied: Collection[str], title: str
) -> dict[str, tuple[str, ...]]:
    """Set `model.untaught` to the outputs that neither initialization nor a label has taught.

    Args:
        model: with its initial weights and the `untaught` of its initialization.
        examples: its training set; no image is decoded.
        copied: heads whose weights the initialization has.
        title: of the training, for messages.

    Returns:
        {head: outputs}, of heads with any.

    Raises:
        UserError: no label teaches any output of a head.
    """
    found = untaught(examples, list(model.tasks.values()))
    kept = {}
    for name, task in model.tasks.items():
        of_start = model.untaught.get(name, ()) if name in copied else task.labels.teachable
        kept[name] = tuple(part for part in found.get(name, ()) if part in of_start)
        refuse(task, kept[name], title=title, count=len(examples))
    model.untaught = kept
    if is_chief():
        tell(title, model.untaught)
    return model.untaught


def of_start(model: MultiTaskModel, start: Start, *, title: str) -> None:
    """Report the untaught outputs of an initialization that is not trained further.

    Args:
        model: with the weights and the `untaught` of the initialization.
        start: the initialization.
        title: of the model, for messages.

    Raises:
        UserError: no label has taught any output of a head.
    """
    for name, task in model.tasks.items():
        if set(model.untaught.get(name, ())) == set(task.labels.teachable):
            raise UserError(f"{title}: no label has taught head {name!r} of {start} anything")
    if not is_chief():
        return
    tell(title, model.untaught)
    if not model.untaught and not _is_recorded(start):
        LOG.info(
            f"{title}: the folder of {start} does not record which labels taught it; all of its "
            "outputs count as taught"
        )


def _is_recorded(start: Start) -> bool:
    """Return whether an initialization's file belongs to an artifact that lists `untaught`."""
    artifact = start.artifact()
    try:
        result = None if artifact is None else artifact.result()
    except (DataError, UserError, ValueError):
        result = None
    return isinstance(result, Mapping) and "untaught" in result


def refuse(task: Task, parts: Sequence[str], *, title: str, count: int) -> None:
    """Raise UserError where the untaught parts of a head are all of its outputs."""
    if set(parts) == set(task.labels.teachable):
        raise UserError(
            f"{title}: none of {count} labels teaches head {task.name!r} anything: all of them "
            "are missing or empty. Check the labels of its sets, or remove the head"
        )


def tell(title: str, found: Untaught) -> None:
    """Print one warning for each output that is left out."""
    for head, parts in found.items():
        for part in parts:
            warn(f"{title}: {sentence(head, part)}")


def note(whose: str, part: str) -> str:
    """Return a page's sentence on an output that is left out.

    Args:
        whose: begins the sentence: "The teacher's".
        part: the output.
    """
    return f"{whose} {part} were never taught; they are left out."


def sentence(head: str, part: str) -> str:
    """Return the message on an output that is left out."""
    return (
        f"{part} of head {head!r} were never taught: no training label has any. They are left out "
        "of predictions, metrics, pseudo labels and exports; to predict them, label some, and "
        f"where they are not wanted, build the head without (with_{part}=False)"
    )
