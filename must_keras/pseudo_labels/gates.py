"""Domain gates: images too far from a teacher's own training images have no label of it.

Each gate has a calibration, the distribution of the teacher's training images and the distances of
its validation images; and for each source that the teacher labels, the distance of every image.
They are beside the pseudo-label datasets, which stay as they are: the label of an image beyond the
limit is left out when it is read, and another limit costs no distances.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from must_keras.arrays import read_array, read_arrays
from must_keras.config.teachers import Teacher
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import UserError, damaged
from must_keras.files import file_sha256, replacing
from must_keras.inference.image_features import ImageFeatures, vectors_of
from must_keras.ops.gaussians import Gaussian
from must_keras.pseudo_labels.labeler import check_readable
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import CalibrationResult, DistancesResult
from must_keras.runs.run import Run

# In the folder of a calibration those of the validation images, of a source those of its images.
DISTANCES = "distances.npy"
STATISTICS = "statistics.npz"
_DTYPE = np.dtype("<f4")


def gated(run: Run) -> tuple[Teacher, ...]:
    """Return the teachers that have a gate."""
    return tuple(teacher for teacher in run.recipe.teachers if teacher.gate is not None)


# ---- what is measured ----------------------------------------------------------------------------


def calibrate(run: Run, teacher: Teacher, artifact: Artifact, features: ImageFeatures) -> None:
    """Fit the distribution of a teacher's training images, and measure its validation images."""
    artifact.begin()
    train, validation = (
        _readable(_vectors(run, source, {teacher.name: features})[teacher.name])
        for source in (teacher.sets.train, teacher.sets.validation)
    )
    gaussian = Gaussian.fit(train)
    with replacing(artifact.folder / STATISTICS) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(gaussian))
    digest = _save(artifact.folder / DISTANCES, gaussian.distances(validation))
    artifact.finish(
        CalibrationResult(
            images=len(validation),
            training_images=len(train),
            shrinkage=gaussian.shrinkage,
            sha256=digest,
        )
    )


def measure(
    run: Run, source: Source, artifacts: Mapping[str, Artifact], models: Mapping[str, ImageFeatures]
) -> None:
    """Measure the distance of every image of a source, for some teachers.

    An image that cannot be read is infinitely far.

    Args:
        run: the run, with the teachers' calibrations.
        source: the images.
        artifacts: {teacher: what is made}.
        models: {teacher: its model's features}; of these and others.
    """
    for artifact in artifacts.values():
        artifact.begin()
    found = distances_from(run, source, {name: models[name] for name in artifacts})
    for name, artifact in artifacts.items():
        digest = _save(artifact.folder / DISTANCES, found[name])
        unreadable = int(np.isinf(found[name]).sum())
        artifact.finish(DistancesResult(images=len(source), unreadable=unreadable, sha256=digest))


def distances_from(
    run: Run, source: Source, models: Mapping[str, ImageFeatures]
) -> dict[str, np.ndarray]:
    """Return {teacher: distances [N] of a source's images}; see `measure`."""
    fitted = {name: _gaussian(run.calibration(name)) for name in models}
    found = _vectors(run, source, models, fitted)
    return {name: np.where(np.isnan(some), np.inf, some) for name, some in found.items()}


def _vectors(
    run: Run,
    source: Source,
    models: Mapping[str, ImageFeatures],
    fitted: Mapping[str, Gaussian] | None = None,
) -> dict[str, np.ndarray]:
    """Return {teacher: vectors [N, C], or distances [N] where a distribution is given}."""
    images, found = TolerantSource(without_labels(source)), {name: [] for name in models}
    title = f"distances of {source.name} for {', '.join(models)}"
    batch = run.recipe.evaluation_batch
    for vectors in vectors_of(images, models, batch=batch, title=title):
        check_readable(source, images.unreadable, run.recipe.max_unreadable)
        for name, rows in vectors.items():
            found[name].append(rows if fitted is None else fitted[name].distances(rows))
    return {name: np.concatenate(rows) for name, rows in found.items()}


def _readable(vectors: np.ndarray) -> np.ndarray:
    return vectors[~np.isnan(vectors).any(axis=1)]


# ---- what is read --------------------------------------------------------------------------------


def limit(run: Run, teacher: Teacher) -> float:
    """Return the largest distance at which a teacher labels; its calibration is complete."""
    return teacher.gate.limit(distances_in(run.calibration(teacher.name)))


def distances_in(artifact: Artifact) -> np.ndarray:
    """Return the distances that a complete calibration, or artifact of a source, has: [N]."""
    shape, remedy = (artifact.result().images,), _remedy(artifact.folder)
    return read_array(artifact.folder / DISTANCES, _DTYPE, shape, remedy=remedy)


def beyond(run: Run, teacher: Teacher, source: Source) -> np.ndarray:
    """Return which images of a source are beyond a teacher's gate: [N] bool.

    Raises:
        UserError: the distances are not measured yet, or are of another number of images.
        DataError: a file of distances is damaged.
    """
    artifact = run.distances(teacher.name, source.name)
    for needed in (run.calibration(teacher.name), artifact):
        if not needed.is_there:
            problem = f"has no distances for the gate of teacher {teacher.name!r}"
            raise UserError.at(needed.folder, f'{problem}: run stage="label" first')
    distances = distances_in(artifact)
    if len(distances) != len(source):
        problem = f"has distances of {len(distances)} images, the source has {len(source)}"
        raise UserError.at(artifact.folder, f'{problem}: run stage="label" first')
    return distances > limit(run, teacher)


def inputs(run: Run) -> dict[str, Any]:
    """Return what the student depends on of complete gates; {} where no teacher has one."""
    found = {
        teacher.name: {
            "gate": teacher.gate,
            "calibration": run.calibration(teacher.name).result().sha256,
            "distances": {
                source.name: run.distances(teacher.name, source.name).result().sha256
                for source in run.recipe.sources_labeled_by(teacher)
            },
        }
        for teacher in gated(run)
    }
    return {"gates": found} if found else {}


def counts(run: Run) -> dict[str, dict[str, Any]]:
    """Return what complete gates leave out, as report.json has it.

    Returns:
        {teacher: {"quantile", "limit", "validation_images", "sources": {source: {"images",
        "beyond"}}}}.
    """
    found = {}
    for teacher in gated(run):
        calibrated = run.calibration(teacher.name).result()
        if calibrated is None:
            continue
        sources = {}
        for source in run.recipe.sources_labeled_by(teacher):
            measured = run.distances(teacher.name, source.name).result()
            # Those of a source that has changed are measured again by the next label stage.
            if measured is not None and measured.images == len(source):
                number = int(beyond(run, teacher, source).sum())
                sources[source.name] = {"images": len(source), "beyond": number}
        found[teacher.name] = {
            "quantile": teacher.gate.quantile,
            "limit": limit(run, teacher),
            "validation_images": calibrated.images,
            "sources": sources,
        }
    return found


def sentences(run: Run) -> Iterator[str]:
    """Yield a sentence for every complete gate and each of its sources."""
    for name, found in counts(run).items():
        yield (
            f"{name}: labels images at a distance of at most {found['limit']:.3g}, the "
            f"{found['quantile']:g} quantile of its {found['validation_images']:,} validation "
            "images"
        )
        for source, of_source in found["sources"].items():
            number, images = of_source["beyond"], of_source["images"]
            yield f"{name}: {number:,} of {images:,} images of {source} are beyond the gate"


def _save(path: pathlib.Path, distances: np.ndarray) -> str:
    """Write distances, and return the digest of the file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, distances.astype(_DTYPE))
    return file_sha256(path)


def _gaussian(artifact: Artifact) -> Gaussian:
    path, remedy = artifact.folder / STATISTICS, _remedy(artifact.folder)
    found = read_arrays(path, remedy=remedy)
    shapes = {name: array.shape for name, array in found.items()}
    dims = shapes.get("mean", ())
    if shapes != {"mean": dims, "whitening": dims * 2, "shrinkage": ()} or len(dims) != 1:
        raise damaged(path, f"its arrays have the shapes {shapes}", remedy=remedy)
    return Gaussian(**found | {"shrinkage": float(found["shrinkage"])})


def _remedy(folder: pathlib.Path) -> str:
    return f"delete {folder} to measure again"
