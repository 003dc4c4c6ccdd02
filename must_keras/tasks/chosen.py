"""A value that was chosen from data, with the reason."""

from typing import Generic, NamedTuple, TypeVar

Value = TypeVar("Value")


class Chosen(NamedTuple, Generic[Value]):
    """A value that was chosen from data, with the reason.

    Attributes:
        value: for a field of a recipe.
        reason: one line for a log, or a comment beside the value.

    Example:
        Chosen(16, "the largest number of objects is 5").value  # 16
    """

    value: Value
    reason: str
