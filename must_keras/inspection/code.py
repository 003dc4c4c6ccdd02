"""Calls that are both made and written: a value of a recipe, and the text that stands for it."""

import dataclasses
import inspect
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_WIDTH, _INDENT = 100, "    "


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
        target: what is called; written by its name.
        arguments: keyword arguments.
        positional: what comes before them.
        by: the class method that is called; "" for the target itself.
        module: what imports the target; "" where it is a public name of must_keras.

    Example:
        call = Call(ImagesOnly, {"name": "photos", "root": pathlib.Path("garden/photos")})
        len(call.evaluate()), Writer(pathlib.Path("garden")).code(call)
    """

    target: Callable[..., Any]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    positional: Sequence[Any] = ()
    by: str = ""
    module: str = ""

    def evaluate(self) -> Any:
        """Return the result of the call."""
        named = {key: _evaluated(value) for key, value in self.arguments.items()}
        function = getattr(self.target, self.by) if self.by else self.target
        return function(*map(_evaluated, self.positional), **named)

    def values(self, key: str) -> Iterator[Any]:
        """Yield the values of an argument, here and in the calls within."""
        for name, value in self.arguments.items():
            if name == key:
                yield value
        for value in (*self.positional, *self.arguments.values()):
            if isinstance(value, Call):
                yield from value.values(key)

    @property
    def name(self) -> str:
        """What is called, as a recipe names it."""
        prefix, method = "" if self.module else "mk.", f".{self.by}" if self.by else ""
        return f"{prefix}{self.target.__name__}{method}"

    def imports(self) -> Iterator[tuple[str, str]]:
        """Yield (module, name) of what a recipe imports for the call and the calls within."""
        if self.module:
            yield self.module, self.name
        for value in (*self.positional, *self.arguments.values()):
            for one in value.values() if isinstance(value, Mapping) else (value,):
                if isinstance(one, Call):
                    yield from one.imports()

    @property
    def stated(self) -> dict[str, Any]:
        """The arguments that differ from the defaults of what is called."""
        defaults = {n: p.default for n, p in inspect.signature(self.target).parameters.items()}
        return {
            name: value
            for name, value in self.arguments.items()
            if type(value) is not type(defaults.get(name)) or value != defaults[name]
        }


def _evaluated(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _evaluated(one) for key, one in value.items()}
    return value.evaluate() if isinstance(value, Call | Text) else value


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
            value: plain data, a path, a `Text` or a `Call`.
            indent: levels of the line that the expression begins in.
            before: characters before it in its line.
            after: characters after it, such as a comma.
        """
        line = self._flat(value)
        room = _WIDTH - len(_INDENT) * indent - before - after
        if len(line) <= room or not isinstance(value, Call | Mapping | tuple):
            return line
        if isinstance(value, Call):
            start, end = f"{value.name}(", ")"
            items = [("", item) for item in value.positional]
            items += [(f"{key}=", item) for key, item in value.stated.items()]
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
        if isinstance(value, Call):
            items = [self._flat(item) for item in value.positional]
            items += [f"{key}={self._flat(item)}" for key, item in value.stated.items()]
            return f"{value.name}({', '.join(items)})"
        if isinstance(value, Mapping):
            pairs = (f"{_quoted(key)}: {self._flat(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, tuple):
            variable = next((name for known, name in self.names.items() if known == value), None)
            if variable is not None:
                return variable
            inner = ", ".join(map(self._flat, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, os.PathLike):
            below = pathlib.Path(os.path.abspath(value)).relative_to(self.root).as_posix()
            braced = below.replace("{", "{{").replace("}", "}}")
            return "data" if below == "." else f"f{_quoted(f'{{data}}/{braced}')}"
        return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: Any) -> str:
    """Return text in double quotes where that needs no escape."""
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" and '"' not in shown else shown
