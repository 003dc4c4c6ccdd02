"""Files of a run that a crash, a copy or a person has damaged: one line, and what to do."""

import json
import os
import pathlib

import numpy as np
import pytest

from fakes.results import finish
from must_keras import stages
from must_keras.analysis import combined, curves
from must_keras.errors import DataError, UserError, warn_once
from must_keras.inference.model import Model
from must_keras.pseudo_labels import leakage
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter
from must_keras.repeat import _keep
from must_keras.runs import pools
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import PREDICTION_COUNTS
from must_keras.runs.results import Scored
from must_keras.runs.run import Run
from must_keras.stages import rounds
from must_keras.stages.status import status
from must_keras.tasks import Classification
from must_keras.training.diagnostics import replay
from must_keras.transfer import learning_rate_sweep
from must_keras.transfer.grid import transfer_runs

DAMAGES = {
    "empty": b"",
    "zeros": bytes(64),
    "cut": b'{"inputs": {"a": 1}, "resu',
    "no JSON": b"<<<<<<< HEAD\n{}\n",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "nothing in it": b"{}",
    "not a number": b'{"inputs": NaN, "result": {}}',
    "infinite": b'{"inputs": 1e999, "result": {}}',
    "a key twice": b'{"inputs": 1, "inputs": 2, "result": {}}',
    "wrong types": b'{"inputs": 1, "result": [], "recipe": 1, "transfers": {}, "learning_rate": "x"}',
    "deep": b"[" * 100_000,
    "a long number": b'{"inputs": ' + b"9" * 10_000 + b"}",
}

# Read as JSON, but not as what was written.
OBJECTS = (DAMAGES["nothing in it"], DAMAGES["wrong types"])


def damage(path: pathlib.Path, content: bytes | None) -> None:
    """Replace a file; None: a folder of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.mkdir() if content is None else path.write_bytes(content)


def show_status(run) -> None:
    status(run, stages.load())


def assert_located(path: pathlib.Path, read, *, errors=(DataError, UserError)) -> None:
    """Reading raises one line that names the file and what to do."""
    with pytest.raises(errors) as error:
        read()
    text = str(error.value)
    assert error.value.path == path and error.value.remedy, text
    assert path.name in text and len(text.splitlines()) == 1 and len(text) < 900, text
    assert "; " in text or ": delete" in text, text


@pytest.mark.parametrize("content", [*DAMAGES.values(), None], ids=[*DAMAGES, "a folder"])
def test_complete_work(content, run, capsys):
    student = run.student.declare(find_inputs=dict)
    path = student.folder / "finished.json"
    damage(path, content)
    for read in (
        lambda: show_status(run),
        student.result,
        lambda: student.result_of({}),
        student.is_complete,
        student.made_from,
    ):
        assert_located(path, read, errors=DataError)
    # Another run's is passed over.
    own = Artifact(folder=run.path / "own", others=(student.folder,), find_inputs=dict)
    assert not own.is_complete() and not own.folder.exists()
    assert "warning" in capsys.readouterr().err


@pytest.mark.parametrize("content", [*DAMAGES.values(), None], ids=[*DAMAGES, "a folder"])
def test_files_of_one_object(content, tmp_path):
    artifact = Artifact(folder=tmp_path / "artifact", find_inputs=lambda: {"a": 1})
    readers = {
        artifact.folder / "begun.json": artifact.resume,
        artifact.folder / "validated.json": lambda: learning_rate_sweep._read_tried(
            artifact.folder
        ),
        tmp_path / "run.json": lambda: combined.read(tmp_path),
        tmp_path / "report.json": lambda: combined.read_report(tmp_path),
        tmp_path / "labels.json": lambda: Model.load(tmp_path / "saved_model", trusted=True),
    }
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"no program")
    (tmp_path / "report.json").write_text('{"transfers": []}')
    for path, read in readers.items():
        damage(path, content)
        if path.name == "begun.json" and content in OBJECTS:
            continue  # Of other inputs.
        if path.name == "labels.json" and content == b"{}":
            continue  # No heads.
        assert_located(path, read)
        if path.name == "begun.json" and content is not None:
            assert path.read_bytes() == content
        path.rmdir() if content is None else path.unlink()
        if path.name == "run.json":
            path.write_text('{"recipe": {}, "git_commit": null}')


@pytest.mark.parametrize(
    "row", [3, {}, {"set": "a"}, {"set": 1, "start": "r", "mode": "m", "neck": "n", "shots": None,
                                  "seed": 0, "value": 1.0}],
)  # fmt: skip
def test_rows_of_a_report(row, tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": {}, "git_commit": null}')
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"transfers": [row]}))
    assert_located(path, lambda: combined.read(tmp_path))
    whole = {"set": "a", "start": "r", "mode": "m", "neck": "n", "shots": None, "seed": 0,
             "value": 1.0, "metric": "top1", "aligned": "none"}  # fmt: skip
    for key in whole:
        path.write_text(json.dumps({"transfers": [{k: v for k, v in whole.items() if k != key}]}))
        assert_located(path, lambda: combined.read(tmp_path))
    (tmp_path / "all.jsonl").write_text("{}\n")
    assert_located(tmp_path / "all.jsonl", lambda: _keep([], tmp_path, 0, tmp_path / "all.jsonl"))


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_what_can_be_recovered_is_recovered(content, run, capsys):
    warn_once.cache_clear()
    path = run.path / "seconds.json"
    path.write_bytes(content)
    found = run.seconds()
    assert all(isinstance(value, int | float) for value in found.values())
    run.add_seconds("student", 2.0)
    assert run.seconds()["student"] == 2.0
    (run.student.folder / "finished.json").unlink()
    (run.student.folder / "progress.json").write_bytes(content)
    show_status(run)
    printed = capsys.readouterr()
    assert "progress.json is damaged" in printed.err
    assert any(x.startswith("student") and " begun, " in x for x in printed.out.splitlines())


LINE = b'{"step": 1, "split": "validation", "loss": 0.5}\n'


@pytest.mark.parametrize("end", [b'{"step": 2, "spl', bytes(30), b"\xff\n", b"{}", b"3"])
def test_a_last_line_that_was_cut_off(end, tmp_path, capsys):
    warn_once.cache_clear()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINE.replace(b"validation", b"train") + end)
    assert curves.read(tmp_path) == {"loss": [(1, 0.5)]}
    assert curves.read(tmp_path) == {"loss": [(1, 0.5)]}
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1 and "metrics.jsonl: the last line, 2, is damaged" in printed[0]
    path.write_bytes(LINE + end.rstrip(b"\n") + b"\n" + LINE)
    assert_located(path, lambda: curves.read(tmp_path))


def test_a_student_of_a_round_with_a_damaged_line(run):
    finish(run.student, tasks={"a": Scored(metrics={"rmse": 0.5}, trivial={})})
    path = run.student.folder / "metrics.jsonl"
    one, line = rounds.Round(number=1, run=run), LINE.replace(b"loss", b"rmse")
    path.write_bytes(line + b'{"step": 2')
    assert one.scores().validation == {"a": 0.5}
    path.write_bytes(b'{"step": 2\n' + line)
    assert_located(path, one.scores)
    path.unlink()
    assert_located(path, one.scores)


GOOD = json.dumps([0, "a.png", 3, "0" * 64])
BAD = (
    "[0]", "3", "{}", '["0", "a.png", 3, "00"]', GOOD.replace("3", "-3"),
    GOOD.replace('"0000', '"zzzz'), GOOD.replace("[0", "[5"), GOOD.replace("[0", "[-1"),
    GOOD.replace('"a.png"', "null"), GOOD[:20], "NaN", "[" * 90_000,
)  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_a_list_of_a_pool(line, tmp_path):
    path = tmp_path / "pile.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    assert_located(path, lambda: list(pools._lines(path)), errors=DataError)
    path.write_text(f"{GOOD}\n")
    assert len(list(pools._lines(path))) == 1


@pytest.mark.parametrize("line", ["{", "{}", '{"index": "1", "id": "a"}', "[]", "\0\0"])
def test_a_list_of_duplicates(line, tmp_path):
    artifact = Run(recipe=None, path=tmp_path).leakage("pile")
    path = artifact.begin() / leakage.LIST
    path.write_text(f"{line}\n")
    assert_located(path, lambda: leakage._listed(artifact, 1), errors=DataError)


# ---- datasets and arrays ------------------------------------------------------------------------

KIND = Classification(name="kind", classes=("a", "b"))


class Images:
    def __len__(self):
        return 6

    def image_id(self, index):
        return f"image {index}"


@pytest.fixture
def labels(tmp_path):
    """The folder of a complete pseudo-label dataset."""
    writer = PseudoLabelWriter(
        tmp_path / "labels", KIND, 6, teacher_sha256="", recipe={}, records_per_shard=3
    )
    record = {"classes": np.array([1], np.int32), "probabilities": np.array([0.9], np.float32)}
    for first, count in writer.pending_ranges():
        writer.write_shard(first, ((f"image {i}", record) for i in range(first, first + count)))
    writer.finish()
    return tmp_path / "labels"


@pytest.mark.parametrize(
    "change",
    [
        {"records": 10**18}, {"records": -6}, {"records": "6"}, {"records": 6.0},
        {"records": True}, {"shards": []}, {"shards": {}}, {"shards": [3, 4]}, {"empty": None},
        {"shards": [{"name": "../../x", "first": 0, "count": 6, "sha256": ""}]},
        {"records": 10**18, "shards": [
            {"name": "labels-train.tfrecord-00000-of-00001", "first": 0, "count": 10**18,
             "sha256": ""}]},
        {"shards": [{"name": "a", "first": 0, "count": 0, "sha256": ""}]},
    ],
)  # fmt: skip
def test_a_ledger(change, labels):
    path = labels / "ledger.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="is damaged: .*delete .*labels to label again"):
        PseudoLabelReader(labels, Images(), KIND)


@pytest.mark.parametrize("content", [*DAMAGES.values(), None], ids=[*DAMAGES, "a folder"])
def test_json_of_a_dataset(content, labels):
    damage(labels / "ledger.json", content)
    assert_located(
        labels / "ledger.json", lambda: PseudoLabelReader(labels, Images(), KIND), errors=DataError
    )
    if content not in OBJECTS:
        damage(labels / "started.json", content)
        arguments = {"teacher_sha256": "", "recipe": {}, "records_per_shard": 3}
        assert_located(
            labels / "started.json", lambda: PseudoLabelWriter(labels, KIND, 6, **arguments)
        )


def as_index(change):
    def write(path):
        index = np.load(path)
        change(index)
        np.save(path, index)

    return write


def far_away(index):
    index["offset"][1] = 2**60


def negative(index):
    index["length"][1] = -5


def huge(path):
    header = {"descr": np.load(path).dtype.descr, "fortran_order": False, "shape": (10**15,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


INDICES = [
    lambda p: np.savez(p.open("wb"), a=np.zeros(3)), lambda p: np.save(p, np.array([{}, 1, 2])),
    lambda p: np.save(p, np.zeros(3)), lambda p: np.save(p, np.load(p)[:2]), huge,
    lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-1]),
    lambda p: (p.unlink(), p.mkdir()), as_index(far_away), as_index(negative),
]  # fmt: skip


@pytest.mark.parametrize("write", INDICES)
def test_an_index(write, labels):
    path = labels / "index-00001-of-00002.npy"
    write(path)
    assert_located(path, lambda: PseudoLabelReader(labels, Images(), KIND), errors=DataError)


def test_counted_answers(run):
    path = run.teacher("objects").folder / PREDICTION_COUNTS
    teacher = next(t for t in run.recipe.teachers if t.name == "objects")
    number, zeros = len(teacher.task.classes), np.zeros((2, 1001), np.int64)
    for write in (
        lambda: path.write_bytes(b"PK\3\4"),
        lambda: np.savez(path, answers=np.array([{}]), right=zeros, true=np.zeros(2, np.int64)),
        lambda: np.savez(path, answers=zeros),
        lambda: np.savez(path, answers=zeros, right=zeros[:1], true=np.zeros(2, np.int64)),
        lambda: np.save(path.open("wb"), zeros),
        lambda: np.savez(
            path, answers=np.zeros((number + 1, 1001), np.int64),
            right=np.zeros((number + 1, 1001), np.int64), true=np.zeros(number + 1, np.int64),
        ),
    ):  # fmt: skip
        write()
        assert_located(path, lambda: run.prediction_counts(teacher), errors=DataError)


def test_a_kept_step(tmp_path):
    for name in ("batch.npz", "model.keras", "step.json"):
        (tmp_path / name).write_bytes(b"x")
    assert_located(tmp_path / "step.json", lambda: replay(tmp_path))
    (tmp_path / "step.json").write_text('{"step": 1, "ids": []}')
    assert_located(tmp_path / "model.keras", lambda: replay(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(run):
    path = run.student.folder / "finished.json"
    path.chmod(0)
    assert_located(path, lambda: show_status(run))


def test_a_file_that_the_system_does_not_open(run, monkeypatch):
    path = run.student.folder / "finished.json"
    real = open

    def refuse(file, *arguments, **named):
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *arguments, **named)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match=r"finished.json cannot be read: Permission denied; make"):
        run.student.result()


def test_a_pipe_is_not_waited_for(run):
    path = run.student.folder / "finished.json"
    path.unlink()
    os.mkfifo(path)
    assert_located(path, run.student.result, errors=DataError)


def test_the_stage_of_a_transfer(run):
    one = next(transfer_runs(run, run.recipe.transfers[0]))
    path = one.read(run).folder / "finished.json"
    path.write_text("{")
    assert_located(path, lambda: show_status(run), errors=DataError)
