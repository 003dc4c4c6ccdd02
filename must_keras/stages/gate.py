"""The domain gates of teachers, a hidden stage: made for the stages that need them."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from must_keras.config.teachers import Teacher
from must_keras.data.sources import Source, without_labels
from must_keras.inference.image_features import ImageFeatures
from must_keras.log import LOG
from must_keras.modeling.loading import load_model
from must_keras.pseudo_labels import gates
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages import teacher as teacher_stage

# Raised when the same inputs would give something else than before.
VERSION = 1


def artifacts(run: Run, teachers: Sequence[Teacher] | None = None) -> tuple[Artifact, ...]:
    """Declare the gates of some teachers, or of all: each one's calibration, then its sources."""
    chosen = [t for t in gates.gated(run) if teachers is None or t in teachers]
    return tuple(artifact for teacher in chosen for artifact in _of(run, teacher))


def _of(run: Run, teacher: Teacher) -> Iterator[Artifact]:
    needs = (teacher_stage.artifact(run, teacher),)

    @functools.cache
    def common() -> dict[str, Any] | None:
        sha256 = run.weights_sha256(teacher)
        if sha256 is None:
            return None
        # Not the quantile, which is applied when the distances are read.
        return {
            "version": VERSION,
            "teacher_sha256": sha256,
            "training_images": describe(without_labels(teacher.sets.train)),
            "batch": run.recipe.evaluation_batch,
        }

    def declared(artifact: Artifact, source: Source, name: str) -> Artifact:
        def find_inputs() -> dict[str, Any] | None:
            found = common()
            return None if found is None else found | {"images": without_labels(source)}

        return artifact.declare(
            stage=Gates.name,
            name=name,
            group=teacher.name,
            find_inputs=find_inputs,
            needs=needs,
            is_renewed=True,
            restarts=True,
        )

    yield declared(run.calibration(teacher.name), teacher.sets.validation, teacher.name)
    for source in run.recipe.sources_labeled_by(teacher):
        distances = run.distances(teacher.name, source.name)
        yield declared(distances, source, f"{teacher.name} for {source.name}")


class Gates(Stage):
    """The distances of the images that gated teachers label, from the teachers' own.

    Example:
        [artifact.name for artifact in Gates().artifacts(run)]  # ["nuclei", "nuclei for photos"]
    """

    name = "gate"
    folder = "gates"
    is_shown = False

    def artifacts(self, run: Run) -> Sequence[Artifact]:
        return artifacts(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        """Measure each source once, for all teachers whose distances are pending."""
        folders = {artifact.folder: artifact for artifact in pending}
        chosen = [t for t in gates.gated(run) if t.name in {one.group for one in pending}]
        models = {teacher.name: _features(run, teacher) for teacher in chosen}
        for teacher in chosen:
            artifact = folders.get(run.calibration(teacher.name).folder)
            if artifact is not None:
                gates.calibrate(run, teacher, artifact, models[teacher.name])
        for source in run.recipe.student_sources:
            of_source = {
                name: folders[folder]
                for name in models
                if (folder := run.distances(name, source.name).folder) in folders
            }
            if of_source:
                gates.measure(run, source, of_source, models)

    def conclude(self, run: Run, stages: Sequence[Stage]) -> None:
        for sentence in gates.sentences(run):
            LOG.info(sentence)

    def report(self, run: Run) -> dict[str, Any]:
        found = gates.counts(run)
        return {"gates": found} if found else {}


STAGE = Gates()


def _features(run: Run, teacher: Teacher) -> ImageFeatures:
    path = run.teacher(teacher.name).model_path
    return ImageFeatures(load_model(path, remedy=f"delete {path.parent} to have it made again"))
