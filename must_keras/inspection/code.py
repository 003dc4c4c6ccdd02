"""Calls that are both made and written: a value of a recipe, and the text that stands for it."""

import dataclasses
import inspect
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_WIDTH, _INDENT = 100, "    "
# The parameter of the functions that are written.
_WORD = "split"


@dataclasses.dataclass(frozen=True)
class Text:
    """A value with the text that is written for it, such as a function or a variable.

    Attributes:
        text: an expression.
        value: that it has.

    Example:
        Text("lambda image: image[:4]", lambda image: image[:4])
    """

    text: str
    value: Any = None

    def evaluate(self) -> Any:
        """Return the value."""
        return self.value


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function or class of must_keras, with arguments that may be calls again.

    Attributes:
        target: what is called, a public name of must_keras.
        arguments: keyword arguments.
        positional: what comes before them.
        spread: a variable with further keyword arguments, or None.
        by: the class method that is called; "" for the target itself.

    Example:
        call = Call(ImagesOnly, {"name": "photos", "root": pathlib.Path("garden/photos")})
        len(call.evaluate()), Writer(pathlib.Path("garden")).code(call)
    """

    target: Callable[..., Any]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    positional: Sequence[Any] = ()
    spread: Text | None = None
    by: str = ""

    def evaluate(self) -> Any:
        """Return the result of the call."""
        named = {key: _evaluated(value) for key, value in self.arguments.items()}
        named |= {} if self.spread is None else self.spread.evaluate()
        function = getattr(self.target, self.by) if self.by else self.target
        return function(*map(_evaluated, self.positional), **named)

    def values(self, key: str) -> Iterator[Any]:
        """Yield the values of an argument, here and in the calls within."""
        for name, value in self.arguments.items():
            if name == key:
                yield value
        for value in (*self.positional, *self.arguments.values()):
            if isinstance(value, Call | Function):
                yield from value.values(key)

    @property
    def name(self) -> str:
        """What is called, as a recipe names it."""
        method = f".{self.by}" if self.by else ""
        return f"mk.{self.target.__name__}{method}"

    @property
    def items(self) -> list[tuple[str, Any]]:
        """What a recipe writes between the parentheses: (what is before a value, the value)."""
        found = [("", value) for value in self.positional]
        found += [(f"{key}=", value) for key, value in self.stated.items()]
        return found if self.spread is None else [*found, ("**", self.spread)]

    @property
    def stated(self) -> dict[str, Any]:
        """The arguments that differ from the defaults of what is called."""
        defaults = {n: p.default for n, p in inspect.signature(self.target).parameters.items()}
        return {
            name: value
            for name, value in self.arguments.items()
            if type(value) is not type(defaults.get(name)) or value != defaults[name]
        }


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A text or a path, of which a `Function` fills in a word.

    Attributes:
        pieces: before, between and after the places of the word.
        is_path: whether it is an absolute path.

    Example:
        Pattern(("/street/", "/images"), is_path=True).filled("val")  # /street/val/images
    """

    pieces: tuple[str, ...]
    is_path: bool = False

    def filled(self, word: str) -> str | pathlib.Path:
        """Return the text or path with a word."""
        text = word.join(self.pieces)
        return pathlib.Path(text) if self.is_path else text


@dataclasses.dataclass(frozen=True)
class Function:
    """A function from a word to a call: `lambda split: mk.VocXml(..., split=split)`.

    Attributes:
        body: the call, some of whose arguments are patterns.

    Example:
        root = Pattern(("/leaves/", ""), is_path=True)
        Function(Call(FolderPerClass, {"name": "leaves", "root": root})).evaluate()("train")
    """

    body: Call

    def evaluate(self) -> Callable[[str], Any]:
        """Return the function."""

        def made(word: str) -> Any:
            filled = {
                key: value.filled(word) if isinstance(value, Pattern) else value
                for key, value in self.body.arguments.items()
            }
            return dataclasses.replace(self.body, arguments=filled).evaluate()

        return made

    def values(self, key: str) -> Iterator[Any]:
        """Yield the values of an argument in the body: see `Call.values`."""
        return self.body.values(key)


def _evaluated(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _evaluated(one) for key, one in value.items()}
    return value.evaluate() if isinstance(value, Call | Function | Text) else value


@dataclasses.dataclass(frozen=True)
class Writer:
    """The text of values in a recipe's file, at most 100 characters a line.

    Attributes:
        root: the folder, an absolute path, that the recipe's variable `data` stands for.
        names: {tuple: the variable that has its value}.

    Example:
        Writer(pathlib.Path("garden")).code(pathlib.Path("garden/depth"))  # 'f"{data}/depth"'
    """

    root: pathlib.Path
    names: Mapping[tuple[Any, ...], str] = dataclasses.field(default_factory=dict)

    def code(self, value: Any, *, indent: int = 0, before: int = 0, after: int = 1) -> str:
        """Return the expression of a value.

        Args:
            value: plain data, a path, a `Text`, a `Call` or a `Function`.
            indent: levels of the line that the expression begins in.
            before: characters before it in its line.
            after: characters after it, such as a comma.
        """
        line = self._flat(value)
        room = _WIDTH - len(_INDENT) * indent - before - after
        if len(line) <= room or not isinstance(value, Call | Function | Mapping | tuple):
            return line
        if isinstance(value, Function):
            start = f"lambda {_WORD}: "
            before += len(start)
            return start + self.code(value.body, indent=indent, before=before, after=after)
        if isinstance(value, Call):
            start, end, items = f"{value.name}(", ")", value.items
        elif isinstance(value, Mapping):
            start, end = "{", "}"
            items = [(f"{_quoted(key)}: ", item) for key, item in value.items()]
        else:
            start, end = "(", ")"
            items = [("", item) for item in value]
        body = "\n".join(self._filled(items, indent + 1))
        return f"{start}\n{body}\n{_INDENT * indent}{end}"

    def _filled(self, items: Sequence[tuple[str, Any]], indent: int) -> Iterator[str]:
        """Yield lines with as many items each as there is room for; long items are alone."""
        margin = _INDENT * indent
        line = margin
        for start, item in items:
            text = f"{start}{self._flat(item)},"
            is_long = len(margin) + len(text) > _WIDTH
            if line.strip() and (is_long or len(line) + 1 + len(text) > _WIDTH):
                yield line
                line = margin
            if is_long:
                yield f"{margin}{start}{self.code(item, indent=indent, before=len(start))},"
            else:
                line += f" {text}" if line.strip() else text
        if line.strip():
            yield line

    def _flat(self, value: Any) -> str:
        """Return the expression in one line, however long."""
        if isinstance(value, Text):
            return value.text
        if isinstance(value, Function):
            return f"lambda {_WORD}: {self._flat(value.body)}"
        if isinstance(value, Call):
            inner = ", ".join(f"{start}{self._flat(item)}" for start, item in value.items)
            return f"{value.name}({inner})"
        if isinstance(value, Mapping):
            pairs = (f"{_quoted(key)}: {self._flat(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, tuple):
            variable = next((name for known, name in self.names.items() if known == value), None)
            if variable is not None:
                return variable
            inner = ", ".join(map(self._flat, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, Pattern) and not any(value.pieces):
            return _WORD
        if isinstance(value, Pattern):
            text = f"{{{_WORD}}}".join(map(_braced, value.pieces))
            return f"f{_quoted(self._in_data(text) if value.is_path else text)}"
        if isinstance(value, os.PathLike):
            text = self._in_data(_braced(pathlib.Path(os.path.abspath(value)).as_posix()))
            return "data" if text == "{data}" else f"f{_quoted(text)}"
        return _quoted(value) if isinstance(value, str) else repr(value)

    def _in_data(self, path: str) -> str:
        """Return the text of an absolute path with the variable `data` for the root."""
        root = _braced(self.root.as_posix())
        return f"{{data}}{path.removeprefix(root.removesuffix('/'))}"


def _braced(text: str) -> str:
    """Return text for an f-string."""
    return text.replace("{", "{{").replace("}", "}}")


def _quoted(text: Any) -> str:
    """Return text in double quotes where that needs no escape."""
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" and '"' not in shown else shown
