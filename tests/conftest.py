"""The order of the tests, and a complete run without real models."""

import pytest

# The files that take longest come first, so that two processes end at about the same time.
LONGEST = (
    "test_whole_method.py",
    "test_layouts.py",
    "training/test_kills.py",
    "test_loop.py",
    "test_recompute.py",
    "test_model.py",
    "test_label_kills.py",
    "test_labeling.py",
    "test_teachers_of_others.py",
)


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next((i for i, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)


TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}


@pytest.fixture(scope="module")
def recipe():
    from must_keras import experiment

    return experiment.load("scenes", TINY, data_dir="nowhere")


@pytest.fixture
def workdir(recipe, tmp_path):
    """A run with a complete folder for every artifact; the models are not real."""
    from must_keras.files import file_sha256
    from must_keras.pseudo_labels import leakage
    from must_keras.runs.workdir import Workdir
    from must_keras.stages import export, label, student, teacher, transfer
    from must_keras.transfer.grid import cells

    workdir = Workdir(tmp_path)
    for item in recipe.teachers:
        part = workdir.teacher(item.name)
        (part.begin() / "model.keras").write_text(item.name)
        part.finish(teacher.inputs(recipe, item), {})
        sha256 = file_sha256(part.model_path)
        for source in label.sources_to_label(recipe, item):
            column = workdir.labels(item.name, source.name)
            column.begin()
            column.finish(label.inputs(recipe, item, source, sha256), {"teacher_sha256": sha256})
    for source in leakage.sources(recipe):
        part = workdir.leaks(source.name)
        part.begin()
        nothing = {"images": len(source), "unreadable": 0, "left_out": 0, "by_set": {}}
        part.finish(leakage.inputs(recipe, source), nothing)
    workdir.student.begin()
    workdir.student.finish(student.inputs(recipe, workdir), {"parameters": 1})
    for item in recipe.transfers:
        for cell in cells(recipe, item):
            part = cell.part(workdir)
            part.begin()
            part.finish(transfer.inputs(recipe, workdir, cell), {})
    workdir.export.begin()
    workdir.export.finish(export.inputs(workdir), {})
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text("{}")
    return workdir
