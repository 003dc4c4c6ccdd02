"""Where a run keeps its parts, and how it knows that a part is finished."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import pathlib
import shutil
import types
from collections.abc import Mapping
from typing import Any

from must_keras.runs import marks, recorded
from must_keras.runs.fingerprint import in_words
from must_keras.errors import DataError, UserError
from must_keras.files import TEMPORARY, find_json, warn_once, write_json
from must_keras.runs.marks import BEGUN, EVIDENCE, FINISHED, RUN


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The folders of one run.

    Attributes:
        root: the run's folder.
        others: folders of other runs, whose finished parts are taken where they are the same.
        stand_ins: {folder of a part: the folder in another run that it is read from}, for a plan of
            what would be taken; see runs.graph.
    """

    root: pathlib.Path
    others: tuple[pathlib.Path, ...] = ()
    stand_ins: dict[pathlib.Path, pathlib.Path] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def teacher(self, name: str) -> Artifact:
        """teachers/<name>/."""
        return self._part("teachers", name, fields=recorded.TEACHER)

    def labels(self, teacher: str, source: str) -> Artifact:
        """labels/<teacher>/<source>/."""
        return self._part("labels", teacher, source, fields=recorded.LABELS)

    def leaks(self, source: str) -> Artifact:
        """leaks/<source>/."""
        return self._part("leaks", source, fields=recorded.LEAKS)

    @property
    def student(self) -> Artifact:
        """student/."""
        return self._part("student", fields=recorded.STUDENT)

    @property
    def rounds(self) -> Artifact:
        """rounds/: the best student of them all."""
        return self._part("rounds", fields=recorded.STUDENT)

    def round(self, number: int) -> Workdir:
        """rounds/<number>/: teachers, labels and student of a further round.

        What does not change from round to round is taken from this run.
        """
        folders = [root / "rounds" / str(number) for root in (self.root, *self.others)]
        return Workdir(folders[0], (self.root, *folders[1:]), self.stand_ins)

    @property
    def supervised(self) -> Artifact:
        """supervised/."""
        return self._part("supervised", fields=recorded.STUDENT)

    def selfsup(self, name: str) -> Artifact:
        """selfsup/<name>/."""
        return self._part("selfsup", name, fields=recorded.SELFSUP)

    def transfer(self, name: str, start: str, protocol: str, seed: int) -> Artifact:
        """transfers/<set>/<start>/<mode>-<neck>-<shots>/seed<k>/."""
        names = ("transfers", name, start, protocol, f"seed{seed}")
        return self._part(*names, fields=recorded.TRANSFER)

    @property
    def export(self) -> Artifact:
        """export/."""
        return self._part("export")

    def _part(self, *names: str, fields: recorded.Fields = types.MappingProxyType({})) -> Artifact:
        folder = self.root.joinpath(*names)
        others = tuple(other.joinpath(*names) for other in self.others)
        return Artifact(self.stand_ins.get(folder, folder), others, fields)


def other_runs(root: pathlib.Path, reuse: pathlib.Path | None) -> tuple[pathlib.Path, ...]:
    """Where a run looks for parts that were made before: `reuse`, and its siblings below runs/.

    Raises:
        UserError: `reuse` is no run's folder.
    """
    if reuse is not None and not (reuse / RUN).is_file():
        raise UserError(f"--reuse={reuse} is no folder of a run: it has no {RUN}")
    siblings = []
    if root.resolve().parent.name == "runs":
        siblings = sorted(path.parent for path in root.resolve().parent.glob(f"*/{RUN}"))
    given = [] if reuse is None else [reuse.resolve()]
    return tuple(path for path in [*given, *siblings] if path != root.resolve())


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A folder that holds one finished or unfinished piece of work.

    `finished.json` is written last, by rename: {"inputs": what the part depends on, "result":
    what it found}. A part is made again only if it is not there.

    Attributes:
        folder: its own.
        others: the same part's folders in other runs, which are only read.
        fields: what its result contains.
    """

    folder: pathlib.Path
    others: tuple[pathlib.Path, ...] = ()
    fields: recorded.Fields = dataclasses.field(default_factory=dict, compare=False)

    @property
    def model_path(self) -> pathlib.Path:
        """The trained model of a teacher or the student."""
        return self.folder / "model.keras"

    def begin(self, inputs: Any = None) -> pathlib.Path:
        """Empty the folder for work that starts afresh; steps that were not finite stay in it.

        Args:
            inputs: what the part is made from; written to begun.json, which marks the folder.

        Raises:
            UserError: the folder contains files that no run has written.
        """
        marks.check_own(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if not marks.is_kept(path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        write_json(self.folder / BEGUN, {} if inputs is None else describe(inputs))
        (self.folder / FINISHED).unlink(missing_ok=True)
        return self.folder

    def resume(self, inputs: Any) -> pathlib.Path:
        """Return the folder as an interrupted process left it, or an empty one for a first start.

        Raises:
            UserError: the folder contains unfinished work that was made from other inputs.
        """
        self._check_begun(inputs)
        if not self._begun_with():
            self.begin(inputs)
        return self.folder

    def _begun_with(self) -> dict[str, Any] | None:
        """Return the inputs of unfinished work; None, or nothing in it, where it has none."""
        remedy = f"delete {self.folder} to start it afresh"
        return find_json(self.folder / BEGUN, form={}, remedy=remedy)

    def _check_begun(self, inputs: Any) -> None:
        """Raise UserError where unfinished work was begun with other inputs; name what differs."""
        was = self._begun_with()
        difference = in_words(was, describe(inputs)) if was else None
        if difference is not None:
            raise UserError(
                f"{self.folder} contains unfinished work that was begun {difference}. Undo the "
                f"change to resume it, choose another --workdir, or delete {self.folder} to start "
                "it afresh"
            )

    def finish(self, inputs: Any, result: Mapping[str, Any]) -> None:
        """Says that the part is whole; what only an unfinished one needs goes."""
        value = {"inputs": describe(inputs), "result": describe(result)}
        write_json(self.folder / FINISHED, value)
        (self.folder / BEGUN).unlink(missing_ok=True)
        marks.remove_checkpoints(self.folder)

    def result(self) -> dict[str, Any] | None:
        """What the part found; None while it is not finished."""
        value = self._finished(self.folder)
        return None if value is None else value["result"]

    def result_of(self, inputs: Any) -> dict[str, Any] | None:
        """What the part found, if it was made from these inputs; None otherwise."""
        value = self._finished(self.folder)
        if value is None:
            return None
        return value["result"] if value["inputs"] == describe(inputs) else None

    def made_from(self) -> Any | None:
        """Return the inputs of the finished part, or of the interrupted one; None before it.

        Raises:
            DataError: the file that holds them is damaged.
        """
        value = self._finished(self.folder)
        return self._begun_from() if value is None else value["inputs"]

    def _begun_from(self) -> Any | None:
        """Return the inputs of the interrupted part; None where it is not begun."""
        remedy = f"delete {self.folder} to label again"
        labeling = find_json(self.folder / marks.STARTED, form={}, remedy=remedy)
        return self._begun_with() if labeling is None else labeling.get("recipe")

    def difference(self, inputs: Any) -> str | None:
        """Return what changed since a part was made or begun, to follow "was made ".

        None where nothing changed, or the part is not begun.
        """
        value = self._finished(self.folder)
        if value is not None:
            return in_words(value["inputs"], describe(inputs))
        was = self._begun_from()
        return in_words(was, describe(inputs)) if was else None

    def is_finished(self, inputs: Any) -> bool:
        """Whether the part is there, made from these inputs; if need be taken from another run.

        Raises:
            UserError: it was made from others; says which value differs.
        """
        value = self._finished(self.folder)
        if value is None:
            return self._taken(describe(inputs))
        difference = in_words(value["inputs"], describe(inputs))
        if difference is not None:
            raise UserError(f"{self.folder} was made {difference}")
        return True

    def elsewhere(self, inputs: Any) -> pathlib.Path | None:
        """Return the same part's folder in another run, where it was made from these inputs."""
        inputs = describe(inputs)
        for other in self.others:
            try:
                value = self._finished(other)
            except (DataError, UserError) as error:  # It is not this run's.
                warn_once(f"not looked into for finished work: {error}")
                continue
            if value is not None and value["inputs"] == inputs:
                return other
        return None

    def _taken(self, inputs: Any) -> bool:
        """Copy the part from another run that has it; return whether one does."""
        other = self.elsewhere(inputs)
        if other is None:
            return False
        marks.check_own(self.folder)
        self._check_begun(inputs)
        temporary = self.folder.with_name(f"{self.folder.name}.from-another-run{TEMPORARY}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            shutil.copytree(other, temporary, copy_function=_linked)
        except shutil.Error as error:
            file, target, reason = error.args[0][0]
            raise UserError(f"{file} cannot be copied to {target}: {reason}") from None
        for evidence in self.folder.glob(f"{EVIDENCE}*"):
            shutil.rmtree(temporary / evidence.name, ignore_errors=True)
            evidence.rename(temporary / evidence.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        temporary.rename(self.folder)
        print(f"{self.folder}: taken from {other}")
        return True

    def _finished(self, folder: pathlib.Path) -> dict[str, Any] | None:
        """The content of a part's finished.json; None while the part is not finished.

        Raises:
            DataError: it is damaged.
            UserError: it cannot be opened.
        """
        path, remedy = folder / FINISHED, f"delete {folder} to have it made again"
        form = {"inputs": object, "result": dict}
        value = find_json(path, form=form, remedy=remedy)
        if value is not None:
            found = recorded.result(value["result"], self.fields, path=path, remedy=remedy)
            value["result"] = found
        return value


def _linked(source: str, destination: str) -> None:
    """The same file under another name; a copy where that cannot be."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


def describe(value: Any) -> Any:
    """A value as plain JSON data; dataclasses and what says `describe()` become dictionaries."""
    if hasattr(value, "describe"):
        return describe(value.describe())
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__} | {k: describe(v) for k, v in fields.items()}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return describe(value.item())
    if isinstance(value, pathlib.Path):
        return str(value)
    raise TypeError(f"cannot describe {type(value).__name__}")
