"""Training, validation and test images of a set that was found."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from must_keras.data.sources import Source
from must_keras.data.splits import (
    Splits,
    split_by_fraction,
    split_by_lists,
    split_by_name,
    split_sequence,
)
from must_keras.errors import UserError
from must_keras.inspection.code import Call
from must_keras.inspection.found import TEST, TRAIN, VALIDATION, FoundSet
from must_keras.inspection.functions import joined_calls
from must_keras.inspection.sequences import Arrangement, arrangement_of

_VALIDATION, _TEST = 0.1, 0.2
# Ends of the names of sources.
_ENDS = {TRAIN: "", VALIDATION: "_validation", TEST: "_test"}
_LISTS = {
    TRAIN: ("train.txt",),
    VALIDATION: ("val.txt", "valid.txt", "validation.txt"),
    TEST: ("test.txt",),
}
# Frames between two blocks of a film that are left out: fewer of a short one.
_GAP, _SHORT = 4, 60


class Split(NamedTuple):
    """The splits of a set, and why they are what they are.

    Attributes:
        call: makes the `Splits`.
        reason: a sentence for a person, without its full stop.
        is_carved: whether a split is made here that no folder or list gives.

    Example:
        split_of_set(found, "species", "species").call.evaluate().train
    """

    call: Call
    reason: str
    is_carved: bool


def split_of_set(found: FoundSet, name: str) -> Split:
    """Return the splits of a set, whose head has the name of the set.

    Raises:
        UserError: a part cannot be read, or parts do not fit each other.
    """
    sources = {split: call.evaluate() for split, call in _calls(found, name).items()}
    spaces = {source.label_spaces[name] for source in sources.values()}
    more: dict[str, Any] = {}
    if len(spaces) > 1 and found.takes_classes:
        # A split may lack a class.
        more["classes"] = tuple(sorted({c for space in spaces for c in space.classes}))
        sources = {split: call.evaluate() for split, call in _calls(found, name, **more).items()}
    if len(sources) == 1:
        (call,) = _calls(found, name, **more).values()
        return _split_whole(call, next(iter(sources.values())), found)
    if len(sources) == 3:
        text = "the splits are given"
        return Split(_split_of_parts(found, name, {}, more), text, is_carved=False)
    return _carved(sources, found, name, more)


def _calls(found: FoundSet, name: str, **more: Any) -> dict[str, Call]:
    """Return {split: the call that makes its source}, all of the set's name."""
    return {split: part(name, name, **more) for split, part in found.parts.items()}


def _split_of_parts(
    found: FoundSet, name: str, carving: Mapping[str, Any], more: Mapping[str, Any]
) -> Call:
    """Return the call that makes splits of two or three given parts, the last one for tests.

    Args:
        found: the set.
        name: of the set.
        carving: where no part is for validation: how such images are carved out of training.
        more: arguments of the sources.
    """
    uses = (TRAIN, TEST) if carving else (TRAIN, VALIDATION, TEST)
    joined = joined_calls(_calls(found, name, **more))
    if joined is not None:
        words = dict(zip(uses, joined.words.values(), strict=True))
        return Call(split_by_name, {**words, **carving}, positional=(joined.function,))
    parts = {
        use: part(f"{name}{_ENDS[use]}", name, **more)
        for use, part in zip(uses, found.parts.values(), strict=True)
    }
    if carving:
        return Call(Splits, carving, positional=tuple(parts.values()), by="with_test")
    return Call(Splits, parts)


def _carved(
    sources: Mapping[str, Source], found: FoundSet, name: str, more: Mapping[str, Any]
) -> Split:
    """Two parts are given: validation images come from the first, the second is for tests."""
    first, second = sources
    arrangement = _arrangement(sources[first], found)
    count = max(1, round(_VALIDATION * len(sources[first])))
    group = {} if arrangement.group is None else {"group": arrangement.group}
    split = _split_of_parts(found, name, {"validation": count, **group}, more)
    why = f" ({arrangement.reason})" if group else ""
    taken = f"{count} images of {first}, sampled at random{why}, are for validation"
    if second == TEST:
        text = f"no validation split given: {taken}"
    else:
        text = f"no test split given: {second} is for tests; {taken}"
    return Split(split, text, is_carved=True)


def _split_whole(call: Call, source: Source, found: FoundSet) -> Split:
    """No split is given by folders: lists of images, or shares of them."""
    lists = _lists(found)
    if len(lists) == 3:
        by_lists = Call(split_by_lists, lists, positional=(call,))
        try:
            by_lists.evaluate()
            return Split(by_lists, "the splits are those of its lists", is_carved=False)
        except UserError:
            # They are about other images.
            pass
    arrangement = _arrangement(source, found)
    shares = {"validation": _VALIDATION, "test": _TEST}
    percent = f"no split given: {_VALIDATION:.0%} validation, {_TEST:.0%} test"
    if arrangement.is_film:
        gap = {"gap": _GAP if len(source) >= _SHORT else 1}
        split = Call(split_sequence, shares | gap, positional=(call,))
        return Split(split, f"{percent}, in blocks ({arrangement.reason})", is_carved=True)
    group = {} if arrangement.group is None else {"group": arrangement.group}
    why = f" ({arrangement.reason})" if group else ""
    text = f"{percent}, at random{why}"
    return Split(Call(split_by_fraction, shares | group, positional=(call,)), text, is_carved=True)


def _arrangement(source: Source, found: FoundSet) -> Arrangement:
    # Folders of classes are no films, and need images in every split.
    return arrangement_of(source) if found.has_order else Arrangement()


def _lists(found: FoundSet) -> dict[str, pathlib.Path]:
    folder = found.place if found.place.is_dir() else found.place.parent
    below = ("", "ImageSets", "ImageSets/Main", "lists", "splits")
    for place in (*(folder / name for name in below), folder.parent):
        lists = {
            split: path
            for split, names in _LISTS.items()
            for path in [next((place / n for n in names if (place / n).is_file()), None)]
            if path is not None
        }
        if len(lists) == 3:
            return lists
    return {}
