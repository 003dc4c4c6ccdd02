"""The recipe that an inspection is written as: a short file that is made to be edited."""

import contextlib
import functools
import importlib
import io
import keyword
import os
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from must_keras import experiment
from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.augmentation import Augmentation
from must_keras.data.sources import tfds_builder
from must_keras.errors import Path, UserError
from must_keras.inspection import choices
from must_keras.inspection.code import Call, Text, Writer
from must_keras.inspection.inspection import InspectedPool, InspectedSet, Inspection, inspect
from must_keras.modeling.backbone import ResNet
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

# Where a recipe imports names from.
_HOMES = (
    "must_keras.data.augmentation", "must_keras.data.sources", "must_keras.data.splits",
    "must_keras.modeling.backbone", "must_keras.tasks", "must_keras.training.config",
    "must_keras.training.network", "must_keras.training.optimizers", "must_keras.config.recipe",
)  # fmt: skip
# Variables of the written file.
_OWN_NAMES = (
    "data", "data_dir", "root", "size", "batch", "teacher_steps", "student_steps",
    "transfer_steps", "training", "recipe", "pathlib", "CPU_DETECTOR",
)  # fmt: skip
_WIDTH = 100
# Before names of must_keras: "mk." once `_imports` is "import must_keras as mk".
_PREFIX = ""
_NETWORK = Call(
    Network, {"backbone": Text(f"{_PREFIX}ResNet.small()"), "size": Text("size"), "channels": 64}
)
_TRAINING = Call(
    TrainingConfig,
    {
        "steps": Text("steps"), "batch": Text("batch"), "learning_rate": 2e-3,
        "optimizer": Call(AdamW),
        "augmentation": Call(Augmentation, {"scale": Text("scale"), "brightness": 0.2}),
    },
)  # fmt: skip
_STUDENT = Call(Student, {"training": Text("training(student_steps)")})


def init(data: Sequence[Path], to: Path) -> None:
    """Inspect folders, print what they contain, and write a recipe for it.

    Args:
        data: folders, "tfds:<name>", and answers: see `inspect`.
        to: the recipe's file, which must not exist yet.

    Raises:
        UserError: see `inspect` and `write_recipe`; nothing was written.

    Example:
        init(["garden", "garden/depth:unit=millimeters"], "garden.py")
    """
    _check_new(pathlib.Path(to))
    found = inspect(data)
    print(found)
    write_recipe(found, to)
    print(f"\nwrote {to}; edit it, and run: python -m must_keras.main --experiment={to}")


def write_recipe(inspection: Inspection, to: Path) -> None:
    """Write a recipe: a teacher for every labeled set, one student, and what is left to transfer.

    Args:
        inspection: what folders contain.
        to: the file, "<name>.py", which must not exist yet.

    Raises:
        UserError: a question is open, nothing is labeled, or the file exists.

    Example:
        write_recipe(inspect("garden"), "garden.py")
    """
    path = pathlib.Path(to)
    _check_new(path)
    inspection.check_answered()
    if not inspection.sets:
        raise UserError(
            "no labeled set was found, and a teacher needs one: add a folder with labels, or see "
            "docs/own_data.md for the ways to store them"
        )
    text = recipe_text(inspection, name=path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError.at(path, "exists and stays as it is; choose another file") from None
    try:
        # What sources warn of is among the warnings of the inspection.
        with contextlib.redirect_stderr(io.StringIO()):
            experiment.load(os.fspath(path), {}, data_dir=None)
    except BaseException:
        path.unlink()
        raise


def _check_new(path: pathlib.Path) -> None:
    if path.suffix != ".py":
        raise UserError.of("", "to", os.fspath(path), "expected the name of a .py file")
    if path.exists() or path.is_symlink():
        raise UserError.at(path, "exists and stays as it is; choose another file")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", path=path.parent)


def recipe_text(inspection: Inspection, *, name: str) -> str:
    """Return the text of a recipe.

    Args:
        inspection: what folders contain, without open questions.
        name: of the recipe.

    Example:
        print(recipe_text(inspect("garden"), name="garden"))
    """
    return "".join(f"{line}\n" for line in _Recipe(inspection, name).lines())


class _Recipe:
    """The parts of the file, from the head to the recipe that it returns."""

    def __init__(self, inspection: Inspection, name: str):
        self._found, self._name = inspection, name
        places = [os.path.abspath(root) for root in inspection.roots]
        self._root = pathlib.Path(os.path.commonpath(places) if places else os.getcwd())
        self._teachers = [one for one in inspection.sets if not one.is_downstream]
        self._transfers = [one for one in inspection.sets if one.is_downstream]
        everything = (*inspection.sets, *inspection.pools)
        names = [one.name for one in everything]
        self._variables = dict(zip(names, _variables(names), strict=True))
        # Classes that a source is given are written once.
        self._given: dict[tuple[str, ...], str] = {}
        for one in inspection.sets:
            for value in one.split.call.values("classes"):
                self._given.setdefault(value, f"{self._variables[one.name]}_classes")
        self._writer = Writer(self._root, _PREFIX, self._given)
        self._long_sides = [one.contents.long_side for one in everything]
        self._size = choices.input_size(self._long_sides)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file; one may be several."""
        yield from self._head()
        yield from self._parameters()
        yield "    root = pathlib.Path(data)"
        for one in self._found.sets:
            text = f"{self._shown(one.found.place)} ({one.found.form}): {one.labels}"
            yield from _comment(f"{text}; {one.split.reason}.", indent=1)
            yield from self._classes(one)
            yield self._assigned(one.name, one.split.call)
        for pool in self._found.pools:
            text = f"{self._shown(pool.place)}: {len(pool.source)} images without labels."
            yield from _comment(text, indent=1)
            yield self._assigned(pool.name, pool.call)
        yield from self._training()
        yield from self._returned()

    def _head(self) -> Iterator[str]:
        run = f"python -m must_keras.main --experiment={self._name}.py"
        short = ",".join(f"{name}=4" for name, _ in self._steps())
        yield f'"""One student for {self._heads()}: written by `must-keras init`, to be edited.'
        yield ""
        yield f"Run it: {run}"
        yield f"Try it: {run}:{short}"
        yield '"""'
        yield ""
        yield "import pathlib"
        yield ""
        yield from _imports(self._targets())
        if any(one.found.kind.noun == "boxes" for one in self._found.sets):
            yield ""
            yield "# Narrow enough for a CPU; leave it out for the widths of the paper."
            yield f"CPU_DETECTOR = {self._writer.code(choices.CPU_DETECTOR, before=15, after=0)}"
        yield ""
        yield ""

    def _parameters(self) -> Iterator[str]:
        # Images may be smaller, or larger than a CPU trains on in minutes.
        why = f"multiple of 32; images have up to {max(self._long_sides)} px, more costs more"
        yield "def recipe("
        yield "    *,"
        yield f"    data: str = {self._writer.code(os.fspath(self._root))},"
        if tfds_builder in self._targets():
            yield "    data_dir: str | None = None,"
        yield f"    size: int = {self._size},  # {why}"
        yield f"    batch: int = {choices.BATCH},"
        for parameter, (steps, reason) in self._steps():
            yield f"    {parameter}: int = {steps},  # {reason}"
        yield f") -> {_PREFIX}Recipe:"

    def _classes(self, one: InspectedSet) -> Iterator[str]:
        own = f"{self._variables[one.name]}_classes"
        for value in dict.fromkeys(one.split.call.values("classes")):
            if self._given[value] == own:
                plain, before = Writer(self._root, _PREFIX), len(own) + 3
                yield f"    {own} = {plain.code(value, indent=1, before=before, after=0)}"

    def _assigned(self, name: str, call: Call) -> str:
        start = f"{self._variables[name]} = "
        return f"    {start}{self._writer.code(call, indent=1, before=len(start), after=0)}"

    def _training(self) -> Iterator[str]:
        scale = "scale: tuple[float, float] = (0.8, 1.25)"
        yield ""
        yield f"    def training(steps: int, {scale}) -> {_PREFIX}TrainingConfig:"
        yield f"        return {self._writer.code(_TRAINING, indent=2, before=7, after=0)}"
        yield ""

    def _returned(self) -> Iterator[str]:
        pools = tuple(map(self._pool, self._found.pools))
        yield f"    return {_PREFIX}Recipe("
        yield f"        name={self._writer.code(self._name)},"
        yield "        seed=0,"
        yield f"        network={self._writer.code(_NETWORK)},"
        yield "        teachers=("
        for one in self._teachers:
            yield from self._item(one, self._teacher(one))
        yield "        ),"
        yield f"        pools={self._writer.code(pools, indent=2, before=6)},"
        yield f"        student={self._writer.code(_STUDENT)},"
        if self._transfers:
            yield "        transfers=("
            for one in self._transfers:
                yield from self._item(one, self._transfer(one))
            yield "        ),"
        else:
            yield from _comment(
                "The student has seen every labeled set; one more would be a Transfer.", indent=2
            )
            yield "        transfers=(),"
        yield '        starts=("random", "student"),'
        yield "    )"

    def _item(self, one: InspectedSet, call: Call) -> Iterator[str]:
        reason = one.found.kind.reasons(one.contents, self._size)
        yield from _comment(reason, indent=3) if reason else ()
        yield f"            {self._writer.code(call, indent=3)},"

    def _shown(self, place: pathlib.Path) -> str:
        """Return a folder or file relative to the root, as comments name it."""
        path = pathlib.Path(os.path.abspath(place))
        if not path.exists():
            return str(place)
        return path.name if path == self._root else path.relative_to(self._root).as_posix()

    # ---- their values ---------------------------------------------------------------------------

    def _pool(self, pool: InspectedPool) -> Call:
        return Call(Pool, {"source": Text(self._variables[pool.name])})

    def _task(self, one: InspectedSet) -> Call:
        variable = self._variables[one.name]
        given = self._given.get(one.splits.train.label_spaces[one.name].classes)
        classes = Text(given or f'{variable}.train.label_spaces["{one.name}"].classes')
        return one.found.kind.task(one.name, classes, one.contents, self._size)

    def _teacher(self, one: InspectedSet) -> Call:
        # Meters do not grow with an image.
        unscaled = ", scale=(1.0, 1.0)" if one.found.kind.keeps_scale else ""
        return Call(
            Teacher,
            {
                "name": one.name,
                "task": self._task(one),
                "sets": Text(self._variables[one.name]),
                "training": Text(f"training(teacher_steps{unscaled})"),
                **one.found.kind.teacher,
            },
        )

    def _transfer(self, one: InspectedSet) -> Call:
        # Of the same images the student has seen other labels.
        seen = {"aligned": {"student": "images"}} if _files(one) & self._seen else {}
        return Call(
            Transfer,
            {
                "name": one.name,
                "task": self._task(one),
                "sets": Text(self._variables[one.name]),
                "training": Text("training(transfer_steps)"),
                **seen,
            },
        )

    @functools.cached_property
    def _seen(self) -> frozenset[pathlib.Path | None]:
        """The files that the student is trained on."""
        sources = [pool.source for pool in self._found.pools]
        sources += [one.splits.train for one in self._teachers]
        files = {source.file(index) for source in sources for index in range(len(source))}
        return frozenset(files - {None})

    def _steps(self) -> Iterator[tuple[str, choices.Steps]]:
        counts = [one.counts[0] for one in self._teachers]
        pools = [len(pool.source) for pool in self._found.pools]
        yield "teacher_steps", choices.Steps.of(int(np.median(counts)), choices.TEACHER)
        yield "student_steps", choices.Steps.of(sum(counts + pools), choices.STUDENT)
        if self._transfers:
            usual = int(np.median([one.counts[0] for one in self._transfers]))
            yield "transfer_steps", choices.Steps.of(usual, choices.TRANSFER)

    def _heads(self) -> str:
        names = [one.name for one in self._teachers]
        return names[0] if len(names) == 1 else f"{len(names)} heads"

    def _targets(self) -> set[Callable[..., Any]]:
        """Return everything of must_keras that the file names."""
        calls = [_NETWORK, _STUDENT, _TRAINING]
        calls += [one.split.call for one in self._found.sets]
        calls += [self._teacher(one) for one in self._teachers]
        calls += [self._transfer(one) for one in self._transfers]
        for pool in self._found.pools:
            calls += [pool.call, self._pool(pool)]
        return {Recipe, ResNet, *(target for call in calls for target in call.targets())}


def _imports(targets: Iterable[Callable[..., Any]]) -> Iterator[str]:
    """Yield the lines that import what a recipe calls: one function, one place to change."""
    by_home: dict[str, list[str]] = {}
    for target in targets:
        name = target.__name__
        home = next(h for h in _HOMES if getattr(importlib.import_module(h), name, None) is target)
        by_home.setdefault(home, []).append(name)
    for home in sorted(by_home):
        names = sorted(by_home[home], key=lambda name: (name[0].islower(), name))
        line = f"from {home} import {', '.join(names)}"
        if len(line) <= _WIDTH:
            yield line
        else:
            inner = textwrap.wrap(", ".join(names), _WIDTH - 5)
            yield f"from {home} import ("
            yield from (f"    {text}" for text in inner)
            yield ")"


def _variables(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        variable = re.sub(r"\W", "_", name)
        is_taken = variable in _OWN_NAMES or keyword.iskeyword(variable)
        variable = f"{variable}_set" if is_taken else variable
        while variable in found:
            variable += "_"
        found.append(variable)
    return found


def _comment(text: str, *, indent: int) -> list[str]:
    """Return lines of a comment."""
    start = f"{'    ' * indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False
    )


def _files(one: InspectedSet) -> set[pathlib.Path | None]:
    parts = (one.splits.train, one.splits.validation, one.splits.test)
    return {part.file(index) for part in parts for index in range(len(part))}
