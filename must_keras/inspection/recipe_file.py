"""The recipe that an inspection is written as: a short file that is made to be edited."""

import collections
import contextlib
import dataclasses
import functools
import io
import keyword
import os
import pathlib
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from must_keras import experiment
from must_keras.config.recipe import Pool, Student, Teacher, Transfer
from must_keras.data.augmentation import Augmentation
from must_keras.data.choices import Chosen, choose_scale
from must_keras.errors import Path, UserError, listed
from must_keras.inspection import budget
from must_keras.inspection.answers import TFDS
from must_keras.inspection.code import Call, Text, Writer
from must_keras.inspection.inspection import InspectedPool, InspectedSet, Inspection, inspect
from must_keras.inspection.kinds import Boxes
from must_keras.modeling.backbone import ResNet
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network

# Variables of the written file.
_OWN_NAMES = (
    "mk", "recipe", "data", "data_dir", "size", "teacher_steps", "student_steps", "transfer_steps",
    "split", "narrow", "training", "unscaled", "fine_tuning", "fine_tuning_unscaled",
)  # fmt: skip
# {steps: variables of the trainings with scaled and with unscaled images}.
_TRAININGS = {
    "teacher_steps": ("training", "unscaled"),
    "transfer_steps": ("fine_tuning", "fine_tuning_unscaled"),
}
_WIDTH = 100
_NETWORK = Call(
    Network, {"backbone": Call(ResNet, by="small"), "size": Text("size"), "channels": 64}
)


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
    if found.questions:
        count = len(found.questions)
        are_open = "the question above is" if count == 1 else f"the {count} questions above are"
        raise UserError(
            f"{are_open} open, and nothing was written: repeat the command with answers"
        )
    write_recipe(found, to)
    print(f"\nwrote {to}; edit it, and run: must-keras run {shlex.quote(os.fspath(to))}")


def write_recipe(inspection: Inspection, to: Path) -> None:
    """Write a recipe: a teacher for every labeled set, one student, and what is left to transfer.

    Args:
        inspection: what folders contain.
        to: the file, "<name>.py", which must not exist yet.

    Raises:
        UserError: a question is open, nothing is labeled, or the file exists.

    Example:
        mk.write_recipe(mk.inspect("garden"), "garden.py")
    """
    path = pathlib.Path(to)
    _check_new(path)
    inspection.check_answered()
    if not inspection.sets:
        raise UserError(
            "no labeled set was found, and a teacher needs one: add a folder with labels, or see "
            "docs/reference/sources.md for the ways to store them"
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
        self._size = budget.choose_size([one.contents.long_side for one in everything])
        self._learned = {one.name: _Learned.of(one, self._size.value) for one in inspection.sets}
        # Classes that several sources are given are written once.
        self._classes: dict[tuple[str, ...], str] = {}
        for one in inspection.sets:
            for value, count in collections.Counter(one.split.call.values("classes")).items():
                if count > 1:
                    self._classes.setdefault(value, f"{self._variables[one.name]}_classes")
        self._writer = Writer(self._root, self._classes)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file; one may be several."""
        yield from self._head()
        yield from self._parameters()
        for one in self._found.sets:
            text = f"{self._shown(one.found.place)} ({one.found.form}): {one.labels}"
            yield from _comment(f"{text}; {one.split.reason}.", indent=1)
            yield from self._shared_classes(one)
            yield self._assigned(self._variables[one.name], one.split.call)
        for pool in self._found.pools:
            text = f"{self._shown(pool.place)}: {len(pool.source)} images without labels."
            yield from _comment(text, indent=1)
            yield self._assigned(self._variables[pool.name], pool.call)
        yield from self._shared()
        yield from self._returned()

    def _head(self) -> Iterator[str]:
        run = f"must-keras run {self._name}.py"
        short = ",".join(f"{name}=4" for name in self._steps)
        names = [one.name for one in self._teachers]
        yield from textwrap.wrap(
            f'"""One student for {listed(names)}: written by `must-keras init`, made to be edited.',
            _WIDTH,
        )
        yield ""
        yield f"Run it: {run}"
        yield f"Try it: {run}:{short}"
        yield '"""'
        yield ""
        yield "import must_keras as mk"
        yield ""
        yield ""

    def _parameters(self) -> Iterator[str]:
        yield "def recipe("
        yield "    *,"
        if self._found.roots:
            yield f"    data: str = {self._writer.code(os.fspath(self._root))},"
        if any(str(one.found.place).startswith(TFDS) for one in self._found.sets):
            yield "    data_dir: str | None = None,"
        for parameter, (value, reason) in {"size": self._size, **self._steps}.items():
            yield f"    {parameter}: int = {value},  # {reason}"
        yield ") -> mk.Recipe:"

    def _shared_classes(self, one: InspectedSet) -> Iterator[str]:
        own = f"{self._variables[one.name]}_classes"
        for value, variable in self._classes.items():
            if variable == own:
                plain, before = Writer(self._root), len(own) + 3
                yield f"    {own} = {plain.code(value, indent=1, before=before, after=0)}"

    def _assigned(self, variable: str, value: Any) -> str:
        start = f"{variable} = "
        return f"    {start}{self._writer.code(value, indent=1, before=len(start), after=0)}"

    def _shared(self) -> Iterator[str]:
        """Yield the variables of what several teachers or transfers have."""
        if self._is_narrow_shared:
            text = "narrow: detection heads for a CPU; the defaults are the paper's."
            yield from _comment(text, indent=1)
            yield self._assigned("narrow", Boxes.widths)
        for steps, sets in (("teacher_steps", self._teachers), ("transfer_steps", self._transfers)):
            scales = {
                _training_of(steps, scale): scale
                for scale in (self._learned[one.name].scale for one in sets)
            }
            for variable, scale in sorted(scales.items()):
                if scale.value != Augmentation.scale:
                    yield from _comment(f"{variable}: {scale.reason}.", indent=1)
                yield self._assigned(variable, _training(steps, scale))

    def _returned(self) -> Iterator[str]:
        pools = tuple(map(self._pool, self._found.pools))
        student = Call(
            Student, {"training": Call(TrainingConfig, {"steps": Text("student_steps")})}
        )
        yield "    return mk.Recipe("
        yield f"        name={self._writer.code(self._name)},"
        yield "        # Narrow enough for a CPU, as the heads are; the defaults are the paper's."
        yield f"        network={self._writer.code(_NETWORK)},"
        yield "        teachers=("
        for one in self._teachers:
            more = {name: choice.value for name, choice in one.found.kind.teacher.items()}
            yield from self._item(one, Teacher, "teacher_steps", one.found.kind.teacher, more)
        yield "        ),"
        if pools:
            yield f"        pools={self._writer.code(pools, indent=2, before=6)},"
        yield f"        student={self._writer.code(student)},"
        if self._transfers:
            yield "        transfers=("
            for one in self._transfers:
                # Of the same images the student has seen other labels.
                seen = {"aligned": {"student": "images"}} if _files(one) & self._seen else {}
                yield from self._item(one, Transfer, "transfer_steps", {}, seen)
            yield "        ),"
        else:
            yield from _comment(
                "No transfers: the student has seen every labeled set; a further one can be an "
                "mk.Transfer.",
                indent=2,
            )
        yield "    )"

    def _item(
        self,
        one: InspectedSet,
        target: type[Teacher] | type[Transfer],
        steps: str,
        reasons: Mapping[str, Chosen[Any]],
        more: Mapping[str, Any],
    ) -> Iterator[str]:
        """Yield the reasons of a teacher's or transfer's values, and the call that makes it."""
        task = self._task(one)
        fields = self._learned[one.name].fields
        stated = {name: fields[name] for name in task.stated if name in fields}
        yield from _reasons(stated | reasons, indent=3)
        sets = Text(self._variables[one.name])
        training = Text(_training_of(steps, self._learned[one.name].scale))
        call = Call(target, {"task": task, "sets": sets, "training": training, **more})
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
        source = Text(f"{self._variables[one.name]}.train")
        kind = one.found.kind
        values = {name: choice.value for name, choice in self._learned[one.name].fields.items()}
        is_shared = self._is_narrow_shared and kind.widths == Boxes.widths
        spread = Text("narrow", kind.widths) if is_shared else None
        values |= {} if is_shared else kind.widths
        return Call(kind.task, values, positional=(source,), spread=spread, by="of")

    @property
    def _is_narrow_shared(self) -> bool:
        """Whether the many widths of detectors are written once, for several of them."""
        return sum(one.found.kind.widths == Boxes.widths for one in self._found.sets) > 1

    @functools.cached_property
    def _seen(self) -> frozenset[pathlib.Path | None]:
        """The files that the student is trained on."""
        sources = [pool.source for pool in self._found.pools]
        sources += [one.splits.train for one in self._teachers]
        files = {source.file(index) for source in sources for index in range(len(source))}
        return frozenset(files - {None})

    @functools.cached_property
    def _steps(self) -> dict[str, Chosen[int]]:
        counts = [one.counts[0] for one in self._teachers]
        pools = [len(pool.source) for pool in self._found.pools]
        found = {
            "teacher_steps": budget.choose_steps(max(counts), budget.TEACHER),
            "student_steps": budget.choose_steps(sum(counts + pools), budget.STUDENT),
        }
        if self._transfers:
            largest = max(one.counts[0] for one in self._transfers)
            found["transfer_steps"] = budget.choose_steps(largest, budget.TRANSFER)
        return found


@dataclasses.dataclass(frozen=True)
class _Learned:
    """What is chosen for the training on a set: fields of its task, and the scale of its images."""

    fields: dict[str, Chosen[Any]]
    scale: Chosen[tuple[float, float]]

    @classmethod
    def of(cls, one: InspectedSet, size: int) -> "_Learned":
        kind, source = one.found.kind, one.splits.train
        scale = choose_scale(kind.task.of(source, name=one.name))
        return cls(kind.fields(source, one.name, size), scale)


def _training_of(steps: str, scale: Chosen[tuple[float, float]]) -> str:
    """Return the variable of a training with so many steps, whose images have a scale."""
    scaled, unscaled = _TRAININGS[steps]
    return scaled if scale.value == Augmentation.scale else unscaled


def _training(steps: str, scale: Chosen[tuple[float, float]]) -> Call:
    augmentation = Call(Augmentation, {"scale": scale.value})
    changed = {"augmentation": augmentation} if augmentation.stated else {}
    return Call(TrainingConfig, {"steps": Text(steps), **changed})


def _reasons(choices: Mapping[str, Chosen[Any]], *, indent: int) -> Iterator[str]:
    """Yield comments: the values that have a reason, and the reason."""
    by_reason: dict[str, list[str]] = {}
    for name, choice in choices.items():
        by_reason.setdefault(choice.reason, []).append(name)
    for reason, names in by_reason.items():
        if reason:
            yield from _comment(f"{', '.join(names)}: {reason}.", indent=indent)


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
