"""Self-training rounds: the student replaces its teachers for a next student, while that helps.

A further round is the same recipe: each teacher that was trained here is the last student's head,
with its weights, and is scored and labels as any teacher does; external models and labels stay. The
next student has the same first weights, images and order, so that only the pseudo labels differ.
Ground truth still wins. It ends with the first student that is not better on the teachers'
validation splits than the one before; test images decide nothing. Labelers, students with networks
of their own (config.student.Labeler), come first: they and the student after them are always made.
"""

import dataclasses
import itertools
import shutil
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from must_keras.errors import UserError, damaged
from must_keras.files import replacing
from must_keras.log import LOG
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import RoundScores, RoundsResult
from must_keras.runs.run import Run
from must_keras.runs.stage import Further, Stage
from must_keras.stages import gate, label, leakage, student, teacher
from must_keras.tasks.evaluation import find_metric
from must_keras.training.initialization import FromModel
from must_keras.training.loggers import read_metrics
from must_keras.training.strategy import broadcast_from_chief

# Raised when the same inputs would give something else than before.
VERSION = 1

# What a round makes, in this order.
_STAGES = (teacher.STAGE, label.STAGE, student.STAGE)
# The same with the hidden ones.
_DECLARED = (leakage.STAGE, teacher.STAGE, gate.STAGE, label.STAGE, student.STAGE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One student and what it learns from.

    Attributes:
        number: 1 is the run itself.
        run: with the teachers of the round.

    Example:
        [one.scores().mean for one in begun_rounds(run)]  # [0.41, 0.44]
    """

    number: int
    run: Run

    def scores(self) -> RoundScores | None:
        """Return the scores of its student, once complete.

        On the teachers' validation splits these are headline metrics; higher is better in their
        mean over heads.

        Raises:
            DataError: its metrics are gone.
        """
        result = self.run.student.result()
        if result is None:
            return None
        folder, values = self.run.student.folder, {}
        for row in read_metrics(folder, split="validation"):
            values |= row.values
        found, signed = {}, []
        for head, scored in result.tasks.items():
            metric = next(iter(scored.metrics), None)
            key = metric if len(result.tasks) == 1 else f"{head}_{metric}"
            if key in values:
                found[head] = values[key]
                signed.append(find_metric(metric).signed(values[key]))
        if not found:
            remedy = f"delete {folder} to train it again"
            raise damaged(
                folder / "metrics.jsonl", "it has no metric of a validation split", remedy=remedy
            )
        test = {head: scored.metrics for head, scored in result.tasks.items()}
        mean = statistics.fmean(signed)
        return RoundScores(round=self.number, validation=found, mean=mean, test=test)


class Rounds(Stage):
    """The students of further rounds, and the best of all.

    Example:
        Rounds().report(run)["rounds"].best  # 2
    """

    name = "rounds"
    reads_pools = True

    def is_wanted(self, run: Run) -> bool:
        return "rounds" in run.recipe.start_names

    def further(self, run: Run) -> Iterator[Further]:
        while number := int(broadcast_from_chief(lambda: _next_number(run))):
            LOG.info(f"round {number} of at most {run.recipe.rounds}: the last student labels")
            yield Further(_of(run, number).run, _STAGES)

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        begun = begun_rounds(run)
        for last, one in itertools.pairwise(begun):
            for stage in _DECLARED:
                for artifact in stage.artifacts(one.run):
                    yield artifact.declare(
                        stage=self.name,
                        name=f"{one.number}: {artifact.stage} {artifact.name}".rstrip(),
                        group="",
                        needs=(student.artifact(last.run), *artifact.needs),
                    )
        yield best_student(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        """Copy the best student, when all rounds are made."""
        rounds, artifact = begun_rounds(run), pending[-1]
        if artifact.inputs is None:
            folder = rounds[-1].run.student.folder
            raise UserError.at(folder, 'is not complete: run stage="student" first')
        best = rounds[-1] if _improves(rounds) else rounds[-2]
        if best is rounds[-1]:
            stopped = f"all {len(rounds)} rounds are made"
        else:
            means = " and ".join(f"{one.scores().mean:.4f}" for one in rounds[-2:])
            stopped = (
                f"the student of round {len(rounds)} is not better on validation than the one "
                f"before ({means})"
            )
        LOG.info(f"rounds: {stopped}; the best student is that of round {best.number}")
        origin = best.run.student
        if not origin.model_path.is_file():
            remedy = f"delete {origin.folder} to train it again"
            raise damaged(origin.model_path, "it is missing", remedy=remedy)
        artifact.folder.mkdir(parents=True, exist_ok=True)
        with replacing(artifact.model_path) as path:
            shutil.copyfile(origin.model_path, path)
        rows = [_with_parameters(one) if run.recipe.labelers else one.scores() for one in rounds]
        of_best = vars(origin.result())
        artifact.finish(RoundsResult(**of_best, rounds=rows, best=best.number, stopped=stopped))

    def report(self, run: Run) -> dict[str, Any]:
        return {"rounds": run.rounds.result() if self.is_wanted(run) else None}


STAGE = Rounds()


def best_student(run: Run) -> Artifact:
    """Declare the copy of the best student."""
    # Other stages make the first student; of complete rounds it may have been deleted since.
    is_needed = run.student.is_there or not run.rounds.is_there
    first = [student.artifact(run)] if is_needed else []
    further = [one.run for one in begun_rounds(run)[1:] if one.run.student.is_there]
    return run.rounds.declare(
        stage=Rounds.name,
        name="the best student",
        find_inputs=lambda: _inputs(begun_rounds(run)),
        needs=(*first, *map(student.artifact, further)),
        is_renewed=True,
        restarts=True,
    )


def begun_rounds(run: Run) -> list[Round]:
    """Return the rounds whose teachers are known: complete ones, and the one that comes next."""
    rounds = [Round(number=1, run=run)]
    while len(rounds) < run.recipe.rounds and rounds[-1].scores() and _improves(rounds):
        rounds.append(_of(run, len(rounds) + 1))
    return rounds


def _next_number(run: Run) -> int:
    """Return the number of the round that is to be made next; 0: none."""
    last = begun_rounds(run)[-1]
    return last.number if last.number > 1 and last.scores() is None else 0


def _inputs(rounds: Sequence[Round]) -> dict[str, Any] | None:
    """Return what the choice of a student depends on; None while not all rounds are complete."""
    scores = [one.scores() for one in rounds]
    if None in scores:
        return None
    return {
        "version": VERSION,
        "rounds": rounds[0].run.recipe.rounds,
        "students": [one.run.student.result().model_sha256 for one in rounds],
        "validation": [of_round.validation for of_round in scores],
    }


def _of(run: Run, number: int) -> Round:
    """Return a round after the first; its teachers need not be there yet."""
    last = run if number == 2 else run.round(number - 1, run.recipe)
    start, labelers = FromModel(last.student.model_path), run.recipe.labelers
    network = labelers[number - 2].network if number - 2 < len(labelers) else None
    teachers = tuple(teacher.replaced_by(start, network) for teacher in run.recipe.teachers)
    recipe = dataclasses.replace(run.recipe, teachers=teachers, labelers=labelers[number - 1 :])
    return Round(number=number, run=run.round(number, recipe))


def _improves(rounds: Sequence[Round]) -> bool:
    """Return whether the last of some complete rounds is better than the one before.

    Labelers and the first student after them have no other to be compared with.
    """
    if len(rounds) <= len(rounds[0].run.recipe.labelers) + 1:
        return True
    return rounds[-1].scores().mean > rounds[-2].scores().mean


def _with_parameters(one: Round) -> RoundScores:
    """Return the scores of a complete round, with the size of its student."""
    parameters = one.run.student.result().parameters
    return dataclasses.replace(one.scores(), parameters=parameters)
