"""One function instead of calls that differ in a word alone: the name of a split."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from must_keras.inspection.code import Call, Function, Pattern
from must_keras.inspection.tree import split_words


class Joined(NamedTuple):
    """Calls as one function of a word.

    Attributes:
        function: the function.
        words: {split: the word of its call}.

    Example:
        joined_calls({"train": one_call, "test": other_call}).words  # {"train": "training", ...}
    """

    function: Function
    words: dict[str, str]


def joined_calls(calls: Mapping[str, Call]) -> Joined | None:
    """Return calls as one function; None where they differ in more than a word.

    Args:
        calls: {split: the call that makes its source}.

    Example:
        roots = {split: pathlib.Path("leaves") / split for split in ("train", "test")}
        joined_calls({s: Call(FolderPerClass, {"name": "a", "root": r}) for s, r in roots.items()})
    """
    first, *others = calls.values()
    if any(not _are_alike(first, other) for other in others):
        return None
    arguments: dict[str, Any] = {}
    found: list[dict[str, str]] = []
    for key, value in first.arguments.items():
        values = {split: call.arguments[key] for split, call in calls.items()}
        if all(one == value for one in values.values()):
            arguments[key] = value
            continue
        joined = _joined_values(values)
        if joined is None:
            return None
        arguments[key], words = joined
        found.append(words)
    if not found or any(words != found[0] for words in found):
        return None
    if len(set(found[0].values())) < len(calls):
        return None
    return Joined(Function(dataclasses.replace(first, arguments=arguments)), found[0])


def _are_alike(one: Call, other: Call) -> bool:
    """Return whether two calls differ in the values of their keyword arguments alone."""
    return dataclasses.replace(one, arguments=dict.fromkeys(one.arguments)) == dataclasses.replace(
        other, arguments=dict.fromkeys(other.arguments)
    )


def _joined_values(values: Mapping[str, Any]) -> tuple[Pattern, dict[str, str]] | None:
    """Return the pattern of texts or of paths, and {split: its word}; None where there is none."""
    if all(isinstance(value, str) for value in values.values()):
        return Pattern(("", "")), dict(values)
    if not all(isinstance(value, pathlib.Path) for value in values.values()):
        return None
    paths = {split: os.path.abspath(path) for split, path in values.items()}
    # Folders above may have such words in their names, too.
    above = os.path.commonpath(list(paths.values()))
    below = {split: path.removeprefix(above) for split, path in paths.items()}
    words, pieces = {}, set()
    for split, text in below.items():
        named = split_words(text, split)
        if len(set(named)) != 1:
            return None
        words[split] = named[0]
        pieces.add(tuple(text.split(named[0])))
    if len(pieces) != 1:
        return None
    first, *others = pieces.pop()
    return Pattern((pathlib.Path(above).as_posix() + first, *others), is_path=True), words
