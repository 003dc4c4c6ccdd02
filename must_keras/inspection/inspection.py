"""An inspection: the sets and pools below folders, how they are split, and what is in doubt."""

import contextlib
import dataclasses
import io
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from must_keras.data import names
from must_keras.data.io import notices
from must_keras.data.sources import Source
from must_keras.data.splits import Splits
from must_keras.errors import DataError, Path, UserError
from must_keras.inspection import table
from must_keras.inspection.answers import Answers, Question, Request
from must_keras.inspection.code import Call
from must_keras.inspection.contents import Contents
from must_keras.inspection.duplicates import repeated
from must_keras.inspection.formats import FORMATS, tfds_names
from must_keras.inspection.found import Findings, FoundPool, FoundSet
from must_keras.inspection.set_names import names_of, pool_name
from must_keras.inspection.splitting import Split, split_of_set
from must_keras.inspection.tree import Tree

# Images of a split below which one image is a tenth of a score.
_FEW = 10
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectedSet:
    """A labeled set, read.

    Attributes:
        name: of the set, its head and its teacher.
        found: where and how it is stored.
        split: the call that makes its splits, and why.
        splits: the splits.
        contents: of its training images.
        is_downstream: whether it is kept for a transfer, unseen by teachers and student.

    Example:
        inspect("garden").sets[0].splits.train
    """

    name: str
    found: FoundSet = dataclasses.field(repr=False)
    split: Split = dataclasses.field(repr=False)
    splits: Splits = dataclasses.field(repr=False)
    contents: Contents = dataclasses.field(repr=False)
    is_downstream: bool = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of training, validation and test images."""
        return len(self.splits.train), len(self.splits.validation), len(self.splits.test)

    @property
    def labels(self) -> str:
        """What its labels are, for a person."""
        return self.found.kind.summary(self.splits.train.label_spaces[self.name], self.contents)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectedPool:
    """Images without labels, read.

    Attributes:
        name: of the source.
        found: where and how they are stored.
        call: makes the source.
        source: the images.
        contents: of them.

    Example:
        len(inspect("garden").pools[0].source)
    """

    name: str
    found: FoundPool = dataclasses.field(repr=False)
    call: Call = dataclasses.field(repr=False)
    source: Source = dataclasses.field(repr=False)
    contents: Contents = dataclasses.field(repr=False)

    @property
    def place(self) -> pathlib.Path:
        """The folder that names them."""
        return self.found.place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is stored in folders; printing it shows a table.

    Attributes:
        roots: the folders.
        sets: labeled sets.
        pools: images without labels.
        questions: what only a person can answer; a recipe is written when there are none.
        warnings: what may be a mistake in the data, a sentence each.
        unused: {path: why it is not used}.

    Example:
        found = inspect("garden")
        print(found)
        found.warnings
    """

    roots: tuple[pathlib.Path, ...]
    sets: tuple[InspectedSet, ...]
    pools: tuple[InspectedPool, ...]
    questions: tuple[Question, ...]
    warnings: tuple[str, ...]
    unused: dict[pathlib.Path, str]

    def __str__(self) -> str:
        return "\n".join(self._lines()).strip("\n")

    def _lines(self) -> Iterator[str]:
        rows = [("name", "use", "images (train/val/test)", "labels", "stored as", "in")]
        for one in self.sets:
            use = "transfer" if one.is_downstream else "teacher"
            counts = f"{sum(one.counts)} ({'/'.join(map(str, one.counts))})"
            rows.append((one.name, use, counts, one.labels, one.found.form, str(one.found.place)))
        for pool in self.pools:
            count = str(len(pool.source))
            rows.append((pool.name, "pool", count, "none", pool.found.form, str(pool.place)))
        yield from table.aligned(rows) if len(rows) > 1 else ()
        carved = [f"{one.name}: {one.split.reason}" for one in self.sets if one.split.is_carved]
        everything = (*self.sets, *self.pools)
        remarks = [f"{one.name}: {remark}" for one in everything for remark in one.found.remarks]
        yield from table.titled("splits that are made here", carved)
        yield from table.titled("notes", remarks)
        yield from table.titled("warnings", self.warnings)
        unused = [f"{path}: {why}" for path, why in self.unused.items()]
        yield from table.titled("not used", unused)
        yield from table.titled("questions", list(map(str, self.questions)))

    def check_answered(self) -> None:
        """Raise UserError where a question is open: the first one, and how to answer it."""
        if not self.questions:
            return
        more = len(self.questions) - 1
        others = f" (and {more} more question{'s' if more > 1 else ''})" if more else ""
        raise UserError(f"{self.questions[0]}{others}", path=self.questions[0].path)


def inspect(paths: Path | Sequence[Path]) -> Inspection:
    """Return what folders contain: labeled sets, unlabeled images, and what is in doubt.

    Files are listed, and some images and labels are read; nothing is written or downloaded.

    Args:
        paths: a folder, or several; "tfds:<name>" for a TensorFlow dataset that is prepared; and
            answers to questions, "<path>:<key>=<value>": "garden/depth:unit=millimeters".

    Raises:
        UserError: there is no such folder, it contains no image, or an answer answers nothing.

    Example:
        found = mk.inspect(["garden", "garden/depth:unit=millimeters"])
        print(found)
    """
    request = Request.of([paths] if isinstance(paths, str | pathlib.Path) else paths)
    findings, answers = Findings(), request.answers
    for root in request.roots:
        findings.add(_found(root, answers))
    findings.add(tfds_names.find(request.tfds, answers))
    questions, warnings = list(findings.questions), []
    sets: list[InspectedSet] = []
    for name, one in zip(names_of(findings.sets, request.roots), findings.sets, strict=True):
        with _reading(one.place, questions, warnings):
            sets.append(_read_set(one, name))
    pools: list[InspectedPool] = []
    for one in findings.pools:
        taken = [*(known.name for known in sets), *(known.name for known in pools)]
        with _reading(one.place, questions, warnings):
            pools.append(_read_pool(one, pool_name(one.place, request.roots, taken)))
    sets = _with_downstream(sets, answers)
    answers.check_used()
    if not (sets or pools or questions or findings.unused):
        folders = ", ".join(map(str, request.roots))
        raise UserError(f"{folders}: no image was found there, nor in the folders below")
    return Inspection(
        roots=request.roots,
        sets=tuple(sets),
        pools=tuple(pools),
        questions=tuple(questions),
        warnings=tuple(dict.fromkeys([*warnings, *_doubts(sets, pools)])),
        unused=findings.unused,
    )


def _found(root: pathlib.Path, answers: Answers) -> Findings:
    tree, found = Tree.of(root), Findings()
    skipped = [folder.path for folder in tree if answers.at(folder.path, "kind") == "skip"]
    tree = tree.without(skipped)
    for form in FORMATS:
        found.add(form.find(tree, answers))
        tree = tree.without(found.explained)
    return found


@contextlib.contextmanager
def _reading(place: pathlib.Path, questions: list[Question], warnings: list[str]) -> Iterator[None]:
    """Collect what sources print as warnings, and their errors as questions."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), notices.gathered():
            yield
    except (UserError, DataError) as error:
        text = f"it cannot be used as it is ({error}): mend it, or leave it out"
        questions.append(Question(place, text, "kind", ("skip",)))
    lines = printed.getvalue().splitlines()
    warnings += [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def _read_set(found: FoundSet, name: str) -> InspectedSet:
    split = split_of_set(found, name)
    splits = split.call.evaluate()
    contents = Contents.of(splits.train, name)
    return InspectedSet(name=name, found=found, split=split, splits=splits, contents=contents)


def _read_pool(found: FoundPool, name: str) -> InspectedPool:
    call = found.part(name, name)
    source = call.evaluate()
    contents = Contents.of(source, None)
    return InspectedPool(name=name, found=found, call=call, source=source, contents=contents)


def _with_downstream(sets: Sequence[InspectedSet], answers: Answers) -> list[InspectedSet]:
    """Keep the smallest set of a kind for a transfer where another one of the kind has a teacher.

    What a user states comes first; a recipe needs a teacher.
    """
    stated = {one.name: answers.of(one.found.place, "use") for one in sets}
    by_kind: dict[str, list[InspectedSet]] = defaultdict(list)
    for one in sets:
        by_kind[one.found.kind.noun].append(one)
    downstream = {name for name, use in stated.items() if use == "transfer"}
    for same in by_kind.values():
        free = [one for one in same if stated[one.name] is None]
        is_settled = any(one.name in downstream for one in same)
        if len(same) > 1 and free and not is_settled:
            downstream.add(min(free, key=lambda one: one.counts[0]).name)
    if sets and len(downstream) == len(sets):
        raise UserError(
            f"use=transfer of every set ({', '.join(sorted(downstream))}) leaves none for a "
            "teacher: a recipe needs one"
        )
    return [dataclasses.replace(one, is_downstream=one.name in downstream) for one in sets]


def _doubts(sets: Sequence[InspectedSet], pools: Sequence[InspectedPool]) -> Iterator[str]:
    """Yield what may be a mistake in the data."""
    if sets and not pools:
        yield "no unlabeled images were found: the student learns from the labeled sets alone"
    for one in (*sets, *pools):
        contents = one.contents
        if contents.problems:
            yield (
                f"{one.name}: {len(contents.problems)} of {contents.num_read} images or labels "
                f"that were read are unreadable, the first: {contents.problems[0]}"
            )
        if contents.unlabeled:
            yield (
                f"{one.name}: {contents.unlabeled} of {contents.num_read} training images that "
                "were read have no label; teachers of other sets still label them"
            )
    for one in sets:
        _, validation, test = one.counts
        if min(validation, test) < _FEW:
            yield (
                f"{one.name}: {validation} validation and {test} test images are so few that a "
                "score of them is mostly chance"
            )
        for same in names.alike(one.splits.train.label_spaces[one.name].classes):
            yield (
                f"{one.name}: the classes {' and '.join(map(repr, same))} differ in case "
                "alone and are different classes; Relabeled joins classes"
            )
    heads = defaultdict(list)
    for one in sets:
        if not one.is_downstream:
            heads[one.splits.train.label_spaces[one.name]].append(one.name)
    for same in heads.values():
        if len(same) > 1:
            yield (
                f"{' and '.join(same)} have labels of the same meaning and a head each: "
                "Concatenated makes one set of them, with one head"
            )
    sources = {f"{one.name} ({s})": getattr(one.splits, s) for one in sets for s in _SPLITS}
    sources |= {f"{one.name} (pool)": one.source for one in pools}
    for where, count, example in repeated(sources):
        yield (
            f"{' and '.join(where)}: {count} file{' has' if count == 1 else 's have'} exactly the "
            f"bytes of another one, for example {example}"
        )
