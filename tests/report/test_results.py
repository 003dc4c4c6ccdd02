"""A finished.json in which a value of the result is missing, or is another: one line, or nothing."""

import copy
import functools
import json
import os

import jinja2
import pytest

from must_keras import report, stages
from must_keras.analysis import curves
from must_keras.errors import DataError, UserError
from must_keras.json_files import write_json
from must_keras.pseudo_labels import leakage
from must_keras.runs import results
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.stages import label
from must_keras.stages import report as report_stage
from must_keras.stages.status import status
from must_keras.transfer.grid import transfer_runs

METRICS = {
    "classes": {"top1": 0.5, "top5": None}, "boxes": {"box_ap50": 0.5, "box_ap": 0.25},
    "map": {"miou": 0.5}, "metric": {"delta1": 0.5, "rmse": 2},
}  # fmt: skip


def of_teacher(task):
    counts = dict.fromkeys(getattr(task, "classes", ()), 2.0)
    return {
        "task": task.name,
        "kind": task.kind,
        "metrics": METRICS[task.kind],
        "trivial": METRICS[task.kind],
        "reliability": {"answers": [1] * 10, "right": [1] * 10} if counts else None,
        "class_counts": counts or None,
        "counted": 8,
        "untaught": [],
        "parameters": 9,
        "images_seen": 8,
        "model_sha256": "",
    }


def of_student(recipe):
    heads = [task.name for task in recipe.tasks]
    scored = {
        t.name: {"metrics": METRICS[t.kind], "trivial": METRICS[t.kind]} for t in recipe.tasks
    }
    return {
        "loss_weights": dict.fromkeys(heads, 1.0),
        "loss_weight_sources": dict.fromkeys(heads, "formula"),
        "parameters": 9,
        "images_seen": 8,
        "model_sha256": "",
        "tasks": scored,
        "origins": {"pool": {head: {"true": 1, "pseudo": 2, "missing": 3} for head in heads}},
        "untaught": {heads[0]: ["masks"]},
    }


def of_transfer(one):
    tried = {
        "learning_rate": 0.1, "metric": "top1", "value": 0.5, "metrics": {"top1": 0.5},
        "error": None, "chosen": True,
    }  # fmt: skip
    return {
        "set": one.transfer.name, "task": one.transfer.task.kind, "start": one.start.name,
        "seed": one.seed, "images": 4, "steps": 2, "learning_rate": 0.1, "metric": "top1",
        "value": 0.5, "metrics": {"top1": 0.5}, "trivial": 0.25, "aligned": "none",
        "mode": "full", "neck": "fpn", "copied": ["backbone"], "shots": None, "split": "test",
        "git_commit": None, "sweep": [tried, tried | {"chosen": False, "value": None}],
        "validation_images": 2,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def files(recipe, run):
    """{kind: finished.json} of a run with results as stages write them."""
    found = {}

    def write(kind, artifact, value):
        path = artifact.folder / "finished.json"
        write_json(path, json.loads(path.read_text()) | {"result": value})
        found[kind] = path

    for item in recipe.teachers:
        write(item.task.kind, run.teacher(item.name), of_teacher(item.task))
        for _, labels_of in run.label_sets(item):
            sha256 = labels_of.result().teacher_sha256
            counts = of_teacher(item.task)["class_counts"]
            value = {
                "teacher_sha256": sha256, "images": 4, "labelled": 4, "bytes": 9,
                "images_per_second": 1.5, "threshold": item.threshold, "counted": 4,
                "class_counts": counts, "quality": METRICS[item.task.kind],
            }  # fmt: skip
            write(f"labels of {item.task.kind}", labels_of, value)
    write("student", run.student, of_student(recipe))
    for transfer in recipe.transfers:
        for one in transfer_runs(run, transfer):
            write("transfer", one.read(run), of_transfer(one))
    for source in leakage.sources(recipe):
        result = {"images": 48, "unreadable": 0, "left_out": 1, "by_set": {"dev_class": 1}}
        write("leaks", run.leakage(source.name), result)
        lines = run.leakage(source.name).folder / leakage.LIST
        lines.write_text('{"index": 0, "id": "x"}\n')
    return found


def places(value, place=()):
    """The places of all values in an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from places(item, (*place, key))


def changed(value, place, new):
    """The same with another value at a place; None: without it."""
    value = copy.deepcopy(value)
    *outer, last = place
    inside = value
    for key in outer:
        inside = inside[key]
    if new is None:
        del inside[last]
    else:
        inside[last] = new[0]
    return value


def errors_of_all(run):
    """The errors of everything that reads results, without training anything."""
    readers = [
        lambda: status(run, stages.load()),
        lambda: label.STAGE.conclude(run, ()),
        lambda: report_stage.STAGE.conclude(run, stages.load()),
    ]
    for read in readers:
        try:
            read()
        except (DataError, UserError) as error:
            yield error


@pytest.fixture
def quick(monkeypatch, tmp_path_factory):
    """Without charts, and without images of the sets; the page's template is compiled once."""
    compiled = jinja2.FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    environment = functools.partial(jinja2.Environment, bytecode_cache=compiled)
    monkeypatch.setattr(jinja2, "Environment", environment)
    sections = [one for one in report.SECTIONS if one[0] != "Samples of every set"]
    monkeypatch.setattr(report, "SECTIONS", sections)
    blank = curves.lines("", {"x": [(0, 1.0)]}, "")
    for name in ("classes", "reliability", "precision_recall", "lines"):
        monkeypatch.setattr(curves, name, lambda *values, **named: list(values) and blank)
    monkeypatch.setattr(curves, "png", lambda figure: b"")


NESTED = ("metrics", "trivial")
FIELDS = {
    "student": results.StudentResult,
    "transfer": results.TransferResult,
    "leaks": results.LeakageResult,
}
KINDS = ["boxes", "labels of boxes", "student", "transfer", "leaks"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_value_of_a_result(kind, run, files, quick, capsys):
    assert not any(isinstance(e, DataError) for e in errors_of_all(run))
    path = files[kind]
    whole = json.loads(path.read_text())
    first = {}
    for place in places(whole["result"]):
        # One class, one head and one item of a list stand for all.
        first.setdefault((len(place), place[0], len(place) == 1 or place[-1] in NESTED), place)
    told = set()
    for place in first.values():
        if isinstance(place[-1], int):
            continue
        write_json(path, whole | {"result": changed(whole["result"], place, None)})
        for error in errors_of_all(run):
            assert len(str(error).splitlines()) == 1
            if isinstance(error, DataError):
                told.add(place[-1])
                assert f"{path} is damaged: its result" in str(error), error
                assert f"{place[-1]!r}" in str(error) and "; delete" in str(error), error
    assert told
    capsys.readouterr()


def test_values_of_another_kind(files):
    for kind, path in files.items():
        whole = json.loads(path.read_text())
        kind_of = FIELDS.get(kind, results.TeacherResult)
        artifact = Artifact(folder=path.parent, result_type=kind_of)
        if kind.startswith("labels"):
            artifact = Artifact(folder=path.parent, result_type=results.LabelsResult)
        assert describe(artifact.result()) == whole["result"]
        for place in places(whole["result"]):
            if place[-1] in ("git_commit", "threshold"):
                continue
            write_json(path, whole | {"result": changed(whole["result"], place, [[["x"]]])})
            with pytest.raises(
                DataError, match=rf"{path} is damaged: its result\..*; delete"
            ) as error:
                artifact.result()
            assert str(place[0]) in str(error.value)
        write_json(path, whole)
