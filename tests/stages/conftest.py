import pytest

from must_keras import experiment
from must_keras.files import file_sha256
from must_keras.stages import export, label, leaks, student, teacher, transfer
from must_keras.stages.cells import cells
from must_keras.workdir import Workdir

TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}


@pytest.fixture(scope="module")
def recipe():
    return experiment.load("scenes", TINY, data_dir="nowhere")


@pytest.fixture
def workdir(recipe, tmp_path) -> Workdir:
    """A run of which every stage says that it is finished; the models are not real."""
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
    for source in leaks.sources(recipe):
        part = workdir.leaks(source.name)
        part.begin()
        nothing = {"images": len(source), "unreadable": 0, "left_out": 0, "by_set": {}}
        part.finish(leaks.inputs(recipe, source), nothing)
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
