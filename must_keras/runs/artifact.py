"""An artifact: one piece of work in a folder, what it is made from and what came out."""

import dataclasses
import functools
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Self, TypedDict

from must_keras.errors import DataError, UserError, warn_once
from must_keras.files import TEMPORARY
from must_keras.json_files import find_json, read_json, write_json
from must_keras.log import LOG
from must_keras.runs import marks
from must_keras.runs.fingerprint import describe, in_words
from must_keras.runs.marks import BEGUN, EVIDENCE, FINISHED
from must_keras.runs.results import Result

Inputs = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Position:
    """The content of progress.json."""

    step: int
    of: int


@functools.cache
def _content(result_type: type) -> type:
    """Return the type of the content of finished.json."""
    return TypedDict("_Content", {"inputs": Any, "result": result_type})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """One piece of work of a run, complete or not.

    finished.json is written last, by rename: {"inputs": what the artifact was made from, "result"}.
    An artifact is made again only if that file is missing. `Run` gives artifacts to read; a stage
    declares those that it makes, with all fields.

    Attributes:
        folder: its own.
        others: the same artifact's folders in other runs, which are only read.
        result_type: of its result; dict for an artifact that is not declared by its stage.
        stage: the name of the stage that makes it.
        name: of the artifact within its stage, for people.
        group: what `only` selects it by; "" where it cannot.
        find_inputs: returns what it is made from, or None while one of its needs is not complete.
        needs: the artifacts that it is made from.
        is_renewed: whether its stage makes it again by itself once it is outdated.
        restarts: whether an interrupted one starts afresh.

    Example:
        artifact = run.artifact("histogram", result_type=HistogramResult).declare(
            stage="histogram", find_inputs=lambda: {"images": source}
        )
        if not artifact.is_complete():
            folder = artifact.begin()
            artifact.finish(HistogramResult(classes=counts))
    """

    folder: pathlib.Path
    others: tuple[pathlib.Path, ...] = ()
    result_type: type = dataclasses.field(default=dict, compare=False, repr=False)
    stage: str = dataclasses.field(default="", compare=False)
    name: str = dataclasses.field(default="", compare=False)
    group: str = dataclasses.field(default="", compare=False)
    find_inputs: Callable[[], Inputs | None] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    needs: tuple["Artifact", ...] = dataclasses.field(default=(), compare=False, repr=False)
    is_renewed: bool = dataclasses.field(default=False, compare=False)
    restarts: bool = dataclasses.field(default=False, compare=False)

    def declare(self, **fields: Any) -> Self:
        """Return the same artifact with what its stage declares of it."""
        return dataclasses.replace(self, **fields)

    @property
    def model_path(self) -> pathlib.Path:
        """The trained model of a network's artifact."""
        return self.folder / "model.keras"

    # ---- what it is made from -------------------------------------------------------------------

    @property
    def inputs(self) -> Any | None:
        """What it is made from, as plain data; None while that is not known.

        Once known it stays: what is recorded at the end is what the work began with.
        """
        if "_inputs" not in self.__dict__:
            found = None if self.find_inputs is None else self.find_inputs()
            if found is None:
                return None
            object.__setattr__(self, "_inputs", describe(found))
        return self.__dict__["_inputs"]

    def made_from(self) -> Any | None:
        """Return the inputs of the complete artifact, or of the interrupted one; None before it.

        Raises:
            DataError: the file that holds them is damaged.
        """
        value = self._finished(self.folder)
        if value is not None:
            return value["inputs"]
        remedy = f"delete {self.folder} to label again"
        labeling = find_json(self.folder / marks.STARTED, dict, remedy=remedy)
        return self._begun_with() if labeling is None else labeling.get("recipe")

    def difference(self) -> str | None:
        """Return what changed since it was made or begun, to follow "was made ".

        None where nothing changed, it is not begun, or its inputs are not known.
        """
        was, inputs = self.made_from(), self.inputs
        if inputs is None or (was is None and not self.is_there):
            return None
        return in_words(was, inputs)

    # ---- its result -----------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether it is complete, whatever it was made from."""
        return self._finished(self.folder) is not None

    def result(self) -> Any | None:
        """Return its result, of its type; None while it is not complete."""
        value = self._finished(self.folder)
        return None if value is None else value["result"]

    def result_of(self, inputs: Any) -> Any | None:
        """Return its result if it was made from these inputs; None otherwise."""
        value = self._finished(self.folder)
        if value is None:
            return None
        return value["result"] if value["inputs"] == describe(inputs) else None

    def is_complete(self) -> bool:
        """Return whether it is complete, made from its inputs; if need be, reuse another run's.

        Raises:
            UserError: it was made from other inputs; names the value that differs.
        """
        if not self.is_there:
            return self._reused()
        if self.inputs is None and self.find_inputs is not None:
            return False  # Whoever makes it reports what is missing.
        difference = self.difference()
        if difference is None:
            return True
        if self.is_renewed:
            return self._reused()  # Another run may have what is asked for now.
        raise UserError.at(self.folder, f"was made {difference}")

    def progress(self) -> str | None:
        """Return how far its training is, "120 of 800"; None where that is not known.

        Of the trainings of a learning-rate sweep, the last one: "12 of 40 at learning rate 0.01".
        """
        path = self._newest_progress()
        if path is None:
            return None
        try:
            remedy = "the next log step of the training writes it anew"
            position = read_json(path, _Position, remedy=remedy)
        except DataError as error:
            warn_once(str(error))
            return None
        is_own = path.parent == self.folder
        rate = "" if is_own else f" at learning rate {path.parent.name}"
        return f"{position.step} of {position.of}{rate}"

    def resumption(self) -> str:
        """Return from where interrupted work of it resumes, to follow "begun, ".

        A training, which has metrics, resumes from the newest checkpoint that is a whole file.
        """
        path = self._newest_progress()
        if path is None or not (path.parent / marks.METRICS).is_file():
            return "will be resumed"
        step = marks.newest_checkpoint(path.parent)
        if step is None:
            return "without a checkpoint: will start from step 0"
        return f"will be resumed from the checkpoint of step {step}"

    def _newest_progress(self) -> pathlib.Path | None:
        """Return the newest progress.json of its trainings; None without any."""
        found = [self.folder / "progress.json", *self.folder.glob("*/*/progress.json")]
        there = [path for path in found if path.is_file()]
        return max(there, key=lambda path: path.stat().st_mtime_ns, default=None)

    # ---- making it ------------------------------------------------------------------------------

    def begin(self) -> pathlib.Path:
        """Empty the folder for work that starts afresh; steps that were not finite stay in it.

        Returns:
            The folder; begun.json in it records what the artifact is made from.

        Raises:
            UserError: the folder contains files that no run has written.
        """
        marks.check_own(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if not marks.is_kept(path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        write_json(self.folder / BEGUN, self.inputs or {})
        (self.folder / FINISHED).unlink(missing_ok=True)
        return self.folder

    def resume(self) -> pathlib.Path:
        """Return the folder as an interrupted process left it, or an empty one for a first start.

        Raises:
            UserError: the folder contains unfinished work that was made from other inputs.
        """
        self._check_begun()
        if not self._begun_with():
            self.begin()
        return self.folder

    def finish(self, result: Result) -> None:
        """Record the result, which completes the artifact; what only unfinished work needs goes.

        Args:
            result: of the artifact's `result_type`.
        """
        write_json(self.folder / FINISHED, {"inputs": self.inputs, "result": describe(result)})
        (self.folder / BEGUN).unlink(missing_ok=True)
        marks.remove_checkpoints(self.folder)

    def amend(self, **values: Any) -> None:
        """Replace values of the result of a complete artifact."""
        value = self._finished(self.folder)
        result = describe(dataclasses.replace(value["result"], **values))
        write_json(self.folder / FINISHED, {"inputs": value["inputs"], "result": result})

    def reusable(self) -> pathlib.Path | None:
        """Return the same artifact's folder in another run, if it was made from the same inputs.

        Where inputs are not known, or not declared, nothing is the same.
        """
        for other in () if self.inputs is None else self.others:
            try:
                value = self._finished(other)
            except (DataError, UserError) as error:  # It is not this run's.
                warn_once(f"not looked into for finished work: {error}")
                continue
            if value is not None and value["inputs"] == self.inputs:
                return other
        return None

    def _reused(self) -> bool:
        """Copy the artifact from another run that has it; return whether one does."""
        other = self.reusable()
        if other is None:
            return False
        marks.check_own(self.folder)
        self._check_begun()
        temporary = self.folder.with_name(f"{self.folder.name}.from-another-run{TEMPORARY}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            shutil.copytree(other, temporary, copy_function=_linked)
        except shutil.Error as error:
            file, target, reason = error.args[0][0]
            raise UserError.at(file, f"cannot be copied to {target}: {reason}") from None
        for evidence in self.folder.glob(f"{EVIDENCE}*"):
            shutil.rmtree(temporary / evidence.name, ignore_errors=True)
            evidence.rename(temporary / evidence.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        temporary.rename(self.folder)
        LOG.info(f"{self.folder}: reused from {other}")
        return True

    # ---- its files ------------------------------------------------------------------------------

    def _begun_with(self) -> dict[str, Any] | None:
        """Return the inputs of unfinished work; None where it has none, or they were not known."""
        remedy = f"delete {self.folder} to start it afresh"
        return find_json(self.folder / BEGUN, dict, remedy=remedy) or None

    def _check_begun(self) -> None:
        """Raise UserError where unfinished work was begun with other inputs; name what differs."""
        was = self._begun_with()
        difference = None if was is None else in_words(was, self.inputs)
        if difference is not None:
            raise UserError.at(
                self.folder,
                f"contains unfinished work that was begun {difference}. Undo the change to resume "
                f"it, choose another `workdir`, or delete {self.folder} to start it afresh",
            )

    def _finished(self, folder: pathlib.Path) -> dict[str, Any] | None:
        """Return the content of finished.json; None while the artifact is not complete.

        Raises:
            DataError: it is damaged, or its result is of another type.
            UserError: it cannot be opened.
        """
        remedy = f"delete {folder} to have it made again"
        return find_json(folder / FINISHED, _content(self.result_type), remedy=remedy)


def _linked(source: str, destination: str) -> None:
    """Give a file another name; copy it where that is not possible."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
