"""The order of the tests, less garbage collection, and a complete run without real models."""

import dataclasses
import gc
import sys

import pytest

# The files that take longest come first, so that two processes end at about the same time.
LONGEST = (
    "test_whole_method.py",
    "test_layouts.py",
    "test_paper_recipes.py",
    "inference/test_predict.py",
    "test_loop.py",
    "self_supervised/test_training.py",
    "test_initialization.py",
    "training/test_kills.py",
    "test_labeler.py",
    "test_label_kills.py",
)


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next((i for i, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish():
    """Collect garbage more rarely.

    Tracing makes millions of objects that are no garbage; looking at all of them, and at the
    hundreds of thousands of TensorFlow's, takes a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure():
    if "programs" in sys.modules:
        sys.modules["programs"].stop_server()


TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    from must_keras import experiment

    # Rendered where a test reads images, once for all tests of the process.
    data_dir = str(tmp_path_factory.getbasetemp() / "scenes")
    return experiment.load("scenes", TINY, data_dir=data_dir)


@pytest.fixture
def run(recipe, tmp_path):
    """A run in which every artifact is complete; models and results are not real."""
    from fakes.results import finish
    from must_keras import stages
    from must_keras.runs.run import Run

    run = Run(recipe=recipe, path=tmp_path)
    for stage in stages.load():
        for artifact in stage.artifacts(run) if stage.is_wanted(run) else ():
            folder, values = artifact.begin(), {}
            if stage.name == "teacher":
                (folder / "model.keras").write_text(artifact.name)
            elif stage.name == "leakage":
                values = {"images": 48, "unreadable": 0, "left_out": 0}
            elif stage.name == "label":
                values = {"teacher_sha256": artifact.inputs["teacher_sha256"]}
            finish(artifact, **values)
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text("{}")
    return run


@pytest.fixture
def longer(run):
    """The same run, whose recipe now asks for 7 steps of the student."""
    student = run.recipe.student
    training = dataclasses.replace(student.training, steps=7)
    student = dataclasses.replace(student, training=training)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, student=student))
