"""From `--experiment=scenes:seed=1,starts=random+student` to a recipe."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from must_keras import naming
from must_keras.errors import DataError, UserError

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / "experiments"


def nearest(word: object, allowed: Sequence[str]) -> str:
    """The end of an error message: the nearest allowed word, if one is near, and all of them."""
    close = difflib.get_close_matches(str(word), allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed are {', '.join(allowed)}"


def parse(text: str, flag: str = "--experiment") -> tuple[str, dict[str, str]]:
    """The name or path that a flag gives and its arguments, still as text.

    Arguments are separated by commas; a value that holds a comma or a colon is quoted.

    Raises:
        UserError: an argument is not of the form name=value.
    """
    name, _, rest = text.partition(":")
    arguments = {}
    for piece in _split(rest, flag):
        key, equals, value = piece.partition("=")
        if not equals or not key.strip().isidentifier():
            raise UserError(f"{flag}: {piece!r} is not of the form name=value")
        arguments[key.strip()] = _unquote(value.strip())
    return name.strip(), arguments


def _split(text: str, flag: str) -> list[str]:
    pieces, quote, piece = [], "", ""
    for character in text:
        if character in "'\"" and not quote:
            quote = character
        elif character == quote:
            quote = ""
        if character == "," and not quote:
            pieces.append(piece)
            piece = ""
        else:
            piece += character
    if quote:
        raise UserError(f"{flag}: a quote {quote} is not closed in {text!r}")
    return [p for p in [*pieces, piece] if p.strip()]


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def find(name: str) -> pathlib.Path:
    """The file of an experiment: a name in experiments/ or a path to one's own file.

    Raises:
        UserError: there is no such file.
    """
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise UserError(f"--experiment: there is no file {name}")
        return path.resolve()
    path = EXPERIMENTS / f"{name}.py"
    if not path.is_file():
        names = sorted(p.stem for p in EXPERIMENTS.glob("*.py") if p.stem != "__init__")
        raise UserError(f"--experiment: unknown recipe {name!r}; {nearest(name, names)}")
    return path


def load(name: str, arguments: Mapping[str, str], *, data_dir: str | None) -> Any:
    """Calls the experiment's `recipe` function with its arguments, typed by their annotations.

    Args:
        name: see `find`.
        arguments: {parameter: text}.
        data_dir: where TFDS keeps its data sets; None: TFDS's own default.

    Raises:
        UserError: an argument is unknown or cannot be read.
    """
    path = find(name)
    function = _function(path)
    signature = inspect.signature(function, eval_str=True)
    allowed = [p for p in signature.parameters if p != "data_dir"]
    values: dict[str, Any] = {}
    for key, text in arguments.items():
        if key not in allowed:
            raise UserError(
                f"--experiment={path.stem}: unknown argument {key!r}; {nearest(key, allowed)}"
            )
        values[key] = _typed(f"{path.stem}:{key}", text, _annotation(signature.parameters[key]))
    if "data_dir" in signature.parameters:
        values["data_dir"] = data_dir
    try:
        signature.bind(**values)
    except TypeError as error:
        raise UserError(f"--experiment={path.stem}: {error}") from None
    with _mistakes_of(path):
        recipe = function(**values)
    if recipe is None:
        raise UserError(f"--experiment={path.stem}: recipe(...) in {path} returns nothing")
    return recipe


def parameters(name: str) -> tuple[str, ...]:
    """The names of an experiment's arguments.

    Args:
        name: see `find`.

    Raises:
        UserError: there is no such recipe.
    """
    return tuple(inspect.signature(_function(find(name))).parameters)


def _function(path: pathlib.Path) -> Callable[..., Any]:
    with _mistakes_of(path):
        module = _module(path)
    function = getattr(module, "recipe", None)
    if not callable(function):
        raise UserError(f"--experiment={path.stem}: {path} has no function named recipe")
    return function


@contextlib.contextmanager
def _mistakes_of(path: pathlib.Path) -> Iterator[None]:
    """Says in one line what a recipe's file did wrong, and in which of its lines.

    Raises:
        UserError: the file raised anything but that itself.
    """
    try:
        yield
    except (UserError, DataError, OSError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        detail = str(error).strip().splitlines()
        raise UserError(
            f"{where}: {type(error).__name__}{f': {detail[0]}' if detail else ''}"
        ) from error


def _module(path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"experiments.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up.
    spec.loader.exec_module(module)
    return module


def _annotation(parameter: inspect.Parameter) -> Any:
    """A parameter's type; that of its default where it is not annotated, else text."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return str if parameter.default in (parameter.empty, None) else type(parameter.default)


def _typed(where: str, text: str, annotation: Any) -> Any:
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in options:
            return None
        return _typed(where, text, next(o for o in options if o is not type(None)))
    kind = origin or annotation
    if kind in (tuple, list, Sequence):
        of = options[0] if options else str
        parts = [_typed(where, part, of) for part in text.split("+") if part]
        return parts if kind is list else tuple(parts)
    if origin is typing.Literal:
        if text not in options:
            raise UserError(f"--experiment={where}={text}: {nearest(text, options)}")
        return text
    if annotation is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise UserError(f"--experiment={where}={text}: expected true or false")
        return text.lower() in ("true", "1")
    try:
        return annotation(text)
    except ValueError:
        raise UserError(f"--experiment={where}={text}: expected {annotation.__name__}") from None


def default_workdir(name: str, arguments: Mapping[str, str]) -> pathlib.Path:
    """runs/<experiment>, with eight hexadecimal digits of the arguments where there are any."""
    stem = find(name).stem
    naming.check_name(stem, "--workdir is not given, and the recipe's name")
    if not arguments:
        return pathlib.Path("runs") / stem
    text = ",".join(f"{key}={arguments[key]}" for key in sorted(arguments))
    return pathlib.Path("runs") / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
