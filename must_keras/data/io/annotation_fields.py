"""Typed reading of annotation entries: every error names file, entry, field, value and remedy."""

import math
import pathlib
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from must_keras import errors
from must_keras.data.io.text_files import array_items
from must_keras.data.names import FileFinder, check_inside
from must_keras.errors import UserError

# A side of an image in pixels: what PNG can hold. Larger numbers are ids or damage.
_MAX_SIDE = 2**31 - 1
_MAX_ID = 2**63 - 1
# Types of numbers in JSON: of a bool too, isinstance would be true.
NUMBERS = frozenset((int, float))
# Kinds that a repr alone does not show clearly.
_KINDS = {type(None): " (null)", str: " (text)"}
# As annotation tools write them; VOC tools write "Unspecified" for an unset flag.
_FLAGS = {
    **dict.fromkeys((None, False, 0, "", "0", "false", "no", "unspecified"), False),
    **dict.fromkeys((True, 1, "1", "true", "yes"), True),
}
_NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

T = TypeVar("T")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxdict = _SHORT.maxlist = 5


def shown(value: Any) -> str:
    """Return a shortened repr of a value, for text and null with its kind: "'12' (text)"."""
    return _SHORT.repr(value) + _KINDS.get(type(value), "")


def number_of_text(text: str) -> float | None:
    """Return the number that a text such as "12" or "12.5" contains, or None."""
    if not _NUMBER_TEXT.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def flag_of(value: Any) -> bool | None:
    """Return a flag written as true, 1, "1", "True" or "yes", or their opposites; None for others.

    An absent flag (null, "", "Unspecified") is False.
    """
    key = value.strip().casefold() if isinstance(value, str) else value
    return None if isinstance(key, list | dict) else _FLAGS.get(key)


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """Return (height, width) where both are whole numbers of at least 1, or None."""
    if not all(type(v) in NUMBERS and 1 <= v <= _MAX_SIDE and v == int(v) for v in (height, width)):
        return None
    return int(height), int(width)


class Entry:
    """An object of a JSON annotation file: fields by name and kind.

    Args:
        file: the annotation file.
        kind: what the entry is: "annotation", "image", "category".
        position: in its list, from 0.
        fields: the object.

    Raises:
        UserError: `fields` is no object; as do all methods for a field of another kind.

    Example:
        Entry("a.json", "annotation", 0, {"id": 7, "iscrowd": "0"}).flag("iscrowd")
    """

    __slots__ = ("_file", "_kind", "_position", "fields")

    def __init__(self, file: pathlib.Path | str, kind: str, position: int, fields: Any):
        self._file, self._kind, self._position = file, kind, position
        self.fields: Mapping[str, Any] = fields
        if type(fields) is not dict:
            self.fields = {}
            raise self.error(f"is {shown(fields)}, expected an object {{...}}")

    @property
    def name(self) -> str:
        """The entry as a person finds it: "annotation 7" by its id, or by its position."""
        own = self.fields.get("id")
        if type(own) in (int, str):
            return f"{self._kind} {_SHORT.repr(own)}"
        file = self.fields.get("file_name")
        named = f" ({_SHORT.repr(file)})" if type(file) is str else ""
        return f"{self._kind} at position {self._position}{named}"

    @property
    def where(self) -> str:
        """The file and the entry."""
        return f"{self._file}: {self.name}"

    def error(self, text: str) -> UserError:
        """Return the error "<file>: <entry> <text>"."""
        return UserError(f"{self.where} {text}")

    def wrong(self, field: str, expected: str) -> UserError:
        """Return the error of a field that is absent or whose value is not as expected."""
        if field not in self.fields:
            keys = ", ".join(map(repr, list(self.fields)[:10])) or "nothing"
            return self.error(f"has no {field!r} (it has {keys}), expected {expected}")
        return self.error(f"has the {field} {shown(self.fields[field])}, expected {expected}")

    def key(self, field: str) -> int | str:
        """Return an identifier: a whole number or text."""
        value = self.fields.get(field)
        if type(value) is int:
            return value
        if type(value) is float and value.is_integer():
            return int(value)
        if type(value) is str and value:
            return value
        raise self.wrong(field, "an id: a whole number or text")

    def integer(self, field: str, low: int = -_MAX_ID, high: int = _MAX_ID) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.fields.get(field)
        if type(value) in NUMBERS and low <= value <= high and value == int(value):
            return int(value)
        limits = "" if (low, high) == (-_MAX_ID, _MAX_ID) else f" from {low} to {high}"
        raise self.wrong(field, f"a whole number{limits}")

    def text(self, field: str) -> str:
        """Return text that is not empty and can be written as UTF-8."""
        value = self.fields.get(field)
        if type(value) is str and value.strip() and _is_unicode(value):
            return value
        raise self.wrong(field, "text")

    def class_name(self, field: str = "name") -> str:
        """Return a class's name: text, or a whole number as text."""
        value = self.fields.get(field)
        return str(value) if type(value) is int else self.text(field)

    def flag(self, field: str) -> bool:
        """Return a flag; see `flag_of`."""
        found = flag_of(self.fields.get(field))
        if found is None:
            raise self.wrong(field, "a flag: 0, 1, true or false")
        return found

    def score(self, field: str = "score") -> float | None:
        """Return a score from 0 to 1, or None where it is absent or null."""
        value = self.fields.get(field)
        if value is None:
            return None
        if type(value) not in NUMBERS or not 0 <= value <= 1:
            raise self.wrong(field, "a number from 0 to 1")
        return float(value)

    def box(self, field: str = "bbox") -> tuple[float, float, float, float] | None:
        """Return COCO's (x, y, width, height) in pixels, or None where it is absent or empty."""
        value = self.fields.get(field)
        if value is None or value == []:
            return None
        if type(value) is list and len(value) == 4:
            x, y, width, height = value
            kinds = {type(x), type(y), type(width), type(height)}
            if kinds <= NUMBERS and width >= 0 and height >= 0 and are_finite(value):
                return float(x), float(y), float(width), float(height)
        raise self.wrong(
            field, "[x, y, width, height]: four finite numbers in pixels, the last two not negative"
        )

    def items(self, field: str, expected: str) -> list[Any]:
        """Return a list."""
        value = self.fields.get(field)
        if type(value) is not list:
            raise self.wrong(field, expected)
        return value

    def one_of(self, known: Mapping[int | str, T], what: str) -> T:
        """Return the value of the listed image or category that the entry is of, by its id.

        Args:
            known: {id: value}.
            what: "image", which the field "image_id" names, or "category".
        """
        key = self.key(f"{what}_id")
        if key not in known:
            raise self.error(f"is of {what} {key!r}, {_unknown_key(key, known)}")
        return known[key]

    def size(self) -> tuple[int, int] | None:
        """Return the image's (height, width), or None where the entry has none that is usable."""
        return size_of(self.fields.get("height"), self.fields.get("width"))

    def file(self, finder: FileFinder, folder: pathlib.Path, field: str = "file_name") -> str:
        """Return the path, below a folder, of the existing file that the entry means.

        Args:
            finder: of the folder's files.
            folder: for messages.
            field: its key.
        """
        written = self.text(field)
        try:
            found = finder.find(written)
        except UserError as error:
            raise self.error(f"has the {field} {error}") from None
        check_inside([written, found or ""], self.where)
        if found is None:
            base = re.split(r"[/\\]", written)[-1]
            other = finder.find(base) if base != written else None
            hint = f"; {other!r} is" if other else ""
            if "://" in written:
                hint = (
                    f", a URL: download the images, and write their paths below that folder{hint}"
                )
            raise self.error(
                f"has the {field} {_SHORT.repr(written)}, which is not in {folder}{hint}"
            )
        return found


def are_finite(values: Iterable[int | float]) -> bool:
    """Return whether all numbers are finite as floating point numbers."""
    try:
        return all(map(math.isfinite, values))
    except OverflowError:
        return False


def whole_numbers(values: Any) -> list[int] | None:
    """Return a list of whole numbers, such as [1, 2.0], as integers; None for anything else."""
    if type(values) is not list:
        return None
    if not all(type(v) is int or (type(v) is float and v.is_integer()) for v in values):
        return None
    return [int(v) for v in values]


def _is_unicode(text: str) -> bool:
    """Return whether text has no halves of surrogate pairs, which cannot be written."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def listed(file: pathlib.Path, content: Any, key: str, kind: str, expected: str) -> Iterator[Entry]:
    """Return the entries of a list of an annotation file's object.

    Args:
        file: the annotation file.
        content: its content.
        key: of the list.
        kind: what its entries are.
        expected: its content, for the message.

    Raises:
        UserError: the content is no object, or has no such list.
    """
    if type(content) is not dict:
        raise UserError.at(file, f"is {shown(content)}, expected an object {{...}} with {key!r}")
    if key not in content:
        keys = ", ".join(map(_SHORT.repr, list(content)[:10])) or "nothing"
        raise UserError.at(file, f"has no {key!r} (it has {keys}): expected {expected}")
    if type(content[key]) is not list:
        raise UserError.at(file, f": {key!r} is {shown(content[key])}, expected {expected}")
    return entries(file, kind, content[key])


def entries(file: pathlib.Path | str, kind: str, items: Iterable[Any]) -> Iterator[Entry]:
    """Yield the entries of a list."""
    return (Entry(file, kind, position, item) for position, item in enumerate(items))


def streamed_entries(path: pathlib.Path, key: str, kind: str) -> Iterator[Entry]:
    """Yield the entries of a list of a JSON object that is too large for memory.

    Args:
        path: the annotation file.
        key: of the list.
        kind: what its entries are.

    Raises:
        UserError: see `text_files.array_items`.
    """
    return entries(path, kind, array_items(path, key))


class Categories:
    """The categories of an annotation file like COCO's, in the order of their ids.

    Args:
        found: their entries.
        read_id: returns an entry's id: `Entry.integer` where texts are none.

    Attributes:
        names: {id: name}.

    Raises:
        UserError: two categories have one id or name.

    Example:
        categories = Categories([Entry("a.json", "category", 0, {"id": 7, "name": "cat"})])
        categories.classes  # ("cat",)
    """

    def __init__(
        self, found: Iterable[Entry], read_id: Callable[[Entry, str], int | str] = Entry.key
    ):
        self.names: dict[int | str, str] = {}
        id_of: dict[str, int | str] = {}
        for entry in found:
            key, name = read_id(entry, "id"), entry.class_name()
            if key in self.names:
                raise entry.error(
                    f"({name!r}) has the id of another category, {self.names[key]!r}: different "
                    "ids are expected"
                )
            if name in id_of:
                raise entry.error(
                    f"has the name {name!r} of category {id_of[name]!r}: different names are "
                    "expected; rename one, or remove one that no annotation uses"
                )
            self.names[key], id_of[name] = name, key

    @property
    def indices(self) -> dict[int | str, int]:
        """{id: index of its class}, in the order of the ids."""
        return {key: index for index, key in enumerate(sorted(self.names))}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the order of the ids."""
        return tuple(self.names[key] for key in self.indices)


def _unknown_key(value: int | str, known: Iterable[int | str]) -> str:
    """Return why an id is not one of a list, for the end of a message: "which is not listed".

    Ids that look equal but are of two kinds, 1 and "1", are the usual reason.
    """
    other = int(value) if isinstance(value, str) and value.isdecimal() else str(value)
    known = list(known)
    if other in known:
        return (
            f"which is not listed: it is {shown(value)}, listed is {shown(other)}; "
            "write both in the same way"
        )
    return f"which is not listed; listed are {few(known)}"


def few(names: Sequence[Any], limit: int = 5) -> str:
    """Return the first names, and how many more there are."""
    return errors.listed([_SHORT.repr(n) for n in names[:limit]], len(names), limit=limit)
