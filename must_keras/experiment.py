"""From `scenes:seed=1,starts=random+student` to a recipe."""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from must_keras import naming
from must_keras.arguments import checked
from must_keras.errors import DataError, UserError, listed, not_allowed

# An installed package contains the recipes; in a checkout they lie beside it.
_PACKAGE = "must_keras.recipes"
_INSTALLED = pathlib.Path(__file__).resolve().parent / "recipes"
EXPERIMENTS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "experiments"
# What stands between two commas: quoted texts, which may contain commas, and others.
_PIECE = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,'"])+""")


def parse(text: str, key: str = "experiment") -> tuple[str, dict[str, str]]:
    """Split a name, or a path, with arguments into the name and {argument: text}.

    Arguments are separated by commas; a value that contains a comma or a colon is quoted.

    Args:
        text: "scenes:seed=1,data='a,b'".
        key: argument that the text is the value of, for the message.

    Raises:
        UserError: an argument is not of the form name=value.

    Example:
        >>> parse("scenes:seed=1,data='a,b'")
        ('scenes', {'seed': '1', 'data': 'a,b'})
    """
    name, _, rest = text.partition(":")
    if re.search("[\"']", _PIECE.sub("", rest)):
        raise UserError.of("", key, text, "a quote is not closed")
    arguments = {}
    for piece in filter(str.strip, _PIECE.findall(rest)):
        argument, equals, value = piece.partition("=")
        if not equals or not argument.strip().isidentifier():
            raise UserError.of("", key, text, f"{piece!r} is not of the form name=value")
        arguments[argument.strip()] = re.sub(r"""^(["'])(.*)\1$""", r"\2", value.strip())
    return name.strip(), arguments


def find(name: str) -> pathlib.Path:
    """Return the file of a recipe: a name in experiments/, or the path of a .py file.

    Raises:
        UserError: there is no such file; has the `allowed` names.
    """
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise UserError(f"there is no recipe {name}", path=path, key="experiment", value=name)
        return path.resolve()
    path = EXPERIMENTS / f"{name}.py"
    if not path.is_file():
        names = sorted(p.stem for p in EXPERIMENTS.glob("*.py") if p.stem != "__init__")
        raise not_allowed(f"unknown recipe {name!r}", name, names, key="experiment")
    return path


def whole(name: str, arguments: Mapping[str, str]) -> str:
    """Return a recipe with its arguments as one text that `parse` reads, in any folder.

    Example:
        >>> whole("scenes", {"seed": "1", "data": "a,b"})
        "scenes:seed=1,data='a,b'"
    """
    path = str(find(name)) if name.endswith(".py") else name
    pieces = [f"{key}={_quoted(value)}" for key, value in arguments.items()]
    return ":".join([path, *([",".join(pieces)] if pieces else [])])


def _quoted(value: str) -> str:
    """Return a value with quotes around it where it contains a comma."""
    quote = '"' if "'" in value else "'"
    return f"{quote}{value}{quote}" if set(value) & set(",'\"") else value


def load(name: str, arguments: Mapping[str, str], *, data_dir: str | None) -> Any:
    """Return what a recipe's file returns from `recipe(...)`, called with typed arguments.

    Args:
        name: see `find`.
        arguments: {parameter: text}, converted to the types of the parameters.
        data_dir: where TFDS keeps its data sets; None: TFDS's own default.

    Raises:
        UserError: an argument is unknown or cannot be converted, or the file fails; has the
            argument as `key`.

    Example:
        load("scenes", {"seed": "1"}, data_dir=None).seed  # 1
    """
    return _called(name, arguments, _from_text, data_dir=data_dir)


def load_with(name: str, values: Mapping[str, Any], *, data_dir: str | None) -> Any:
    """Return what a recipe's file returns from `recipe(...)`, called with Python values.

    Args:
        name: see `find`.
        values: {parameter: value of the parameter's type}.
        data_dir: see `load`.

    Raises:
        UserError: an argument is unknown or of another type, or the file fails; has the argument
            as `key`.

    Example:
        load_with("scenes", {"seed": 1, "starts": ("random", "student")}, data_dir=None).seed  # 1
    """
    return _called(name, values, checked, data_dir=data_dir)


def _called(
    name: str,
    arguments: Mapping[str, Any],
    convert: Callable[[str, str, Any, inspect.Parameter], Any],
    *,
    data_dir: str | None,
) -> Any:
    """Return what `recipe(...)` of a file returns.

    Args:
        name: see `find`.
        arguments: {parameter: text or value}.
        convert: called with the recipe's name, a parameter's name, what is given for it, and the
            parameter; returns its value.
        data_dir: see `load`.
    """
    path = find(name)
    function = _function(path)
    signature = inspect.signature(function, eval_str=True)
    allowed = [p for p in signature.parameters if p != "data_dir"]
    without_default = {p.name for p in signature.parameters.values() if p.default is p.empty}
    values: dict[str, Any] = {}
    for key, given in arguments.items():
        if key not in allowed:
            raise not_allowed(f"recipe {path.stem} has no argument {key!r}", key, allowed, key=key)
        values[key] = convert(path.stem, key, given, signature.parameters[key])
    if "data_dir" in signature.parameters:
        values["data_dir"] = data_dir
    missing = [key for key in allowed if key in without_default and key not in values]
    if missing:
        given = ",".join(f"{key}=..." for key in missing)
        problem = f": {listed(missing)} must be given, as in {path.name}:{given}"
        raise UserError.at(path, problem, key=missing[0])
    with _mistakes_of(path):
        recipe = function(**values)
    if recipe is None:
        raise UserError.at(path, ": recipe(...) returns nothing")
    return recipe


def parameters(name: str) -> tuple[str, ...]:
    """Return the names of a recipe's arguments.

    Raises:
        UserError: there is no such recipe.
    """
    return tuple(inspect.signature(_function(find(name))).parameters)


def default_workdir(name: str, arguments: Mapping[str, str]) -> pathlib.Path:
    """Return runs/<recipe>, with eight hexadecimal digits of the arguments where there are any."""
    stem = find(name).stem
    naming.check_name(stem, "no workdir is given, and the recipe's name")
    if not arguments:
        return pathlib.Path("runs") / stem
    text = ",".join(f"{key}={arguments[key]}" for key in sorted(arguments))
    return pathlib.Path("runs") / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _function(path: pathlib.Path) -> Callable[..., Any]:
    with _mistakes_of(path):
        module = _own(path) if path.parent == EXPERIMENTS else _other(path)
    function = getattr(module, "recipe", None)
    if not callable(function):
        raise UserError.at(path, "has no function named recipe")
    return function


def _own(path: pathlib.Path) -> types.ModuleType:
    """Import a recipe of must_keras; such recipes import each other relatively."""
    if _PACKAGE not in sys.modules:
        package, places = EXPERIMENTS / "__init__.py", [str(EXPERIMENTS)]
        _load(_PACKAGE, package, submodule_search_locations=places)
    return importlib.import_module(f"{_PACKAGE}.{path.stem}")


def _other(path: pathlib.Path) -> types.ModuleType:
    """Import a user's recipe, anew each time."""
    return _load(f"recipe.{path.stem}", path)


def _load(name: str, path: pathlib.Path, **options: Any) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, **options)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses search their module there.
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _mistakes_of(path: pathlib.Path) -> Iterator[None]:
    """Turn any other error of a recipe's file into one line with the number of its line.

    Raises:
        UserError: the file raised something else than UserError or DataError.
    """
    try:
        yield
    except (UserError, DataError, OSError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        raise UserError.at(error.filename, f", line {error.lineno}: {error.msg}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        detail = "".join(f": {text}" for text in str(error).strip().splitlines()[:1])
        raise UserError.at(path, f"{line}: {type(error).__name__}{detail}") from error


def _from_text(recipe: str, key: str, text: str, parameter: inspect.Parameter) -> Any:
    return _typed(recipe, key, text, _annotation(parameter))


def _annotation(parameter: inspect.Parameter) -> Any:
    """Return a parameter's type: annotated, or of its default; else text."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return str if parameter.default in (parameter.empty, None) else type(parameter.default)


def _typed(recipe: str, key: str, text: str, annotation: Any) -> Any:
    """Return the text of an argument as a value of its type."""
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    where = f"recipe {recipe}: {key}={text}"
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in options:
            return None
        kind = next(option for option in options if option is not type(None))
        return _typed(recipe, key, text, kind)
    kind = origin or annotation
    if kind in (tuple, list, Sequence):
        item = options[0] if options else str
        items = [_typed(recipe, key, one, item) for one in text.split("+") if one]
        return items if kind is list else tuple(items)
    if origin is typing.Literal:
        if text not in options:
            raise not_allowed(where, text, options, key=key)
        return text
    if annotation is bool:
        values = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in values:
            raise not_allowed(where, text, ("true", "false"), key=key)
        return values[text.lower()]
    try:
        return annotation(text)
    except ValueError:
        problem = f"expected {annotation.__name__}"
        raise UserError.of(f"recipe {recipe}", key, text, problem) from None
