"""Results of artifacts that nothing was made for. Not a test."""

import dataclasses
import typing
from typing import Any

from must_keras.runs.artifact import Artifact

_EMPTY = {str: "", int: 1, float: 0.5, dict: dict, list: list}


def a_result(kind: type, **values: Any) -> Any:
    """A result of a type; a field that is not given has a plain value, or None where it can."""
    hints = typing.get_type_hints(kind)
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    plain = {name: _plain(hints[name]) for name in needed}
    if "tasks" in values:
        plain["loss_weights"] = dict.fromkeys(values["tasks"], 1.0)
        plain["loss_weight_sources"] = dict.fromkeys(values["tasks"], "given")
    return kind(**plain | values)


def finish(artifact: Artifact, **values: Any) -> None:
    """Complete an artifact with such a result."""
    artifact.finish(a_result(artifact.result_type, **values))


def _plain(hint: Any) -> Any:
    if hint is Any or type(None) in typing.get_args(hint):
        return None
    empty = _EMPTY[typing.get_origin(hint) or hint]
    return empty() if isinstance(empty, type) else empty
