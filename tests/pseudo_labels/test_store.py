import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from must_keras.errors import DataError, UserError
from must_keras.json_files import write_json
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter
from must_keras.pseudo_labels.store.layout import features_of, parse, serialize, verify
from must_keras.tasks.parts import Spec

SPECS = {
    "detection": {
        "boxes": Spec((None, 4), "float32"),
        "classes": Spec((None,), "int32"),
        "scores": Spec((None,), "float32"),
        "masks": Spec((None,), "bytes"),
        "truncated": Spec((), "bool"),
    },
    "segmentation": {"map": Spec((), "bytes"), "confidence": Spec((), "bytes")},
    "depth": {
        "depth": Spec((), "bytes"),
        "offset": Spec((), "float32"),
        "scale": Spec((), "float32"),
    },
    "classification": {"probabilities": Spec((5,), "float32"), "top": Spec((2, None), "uint8")},
}
NUM_RECORDS, PER_SHARD, EMPTY = 23, 5, (0, 7, 22)


class FakeRecords:
    floor = 0.05

    def __init__(self, name):
        self._spec = SPECS[name]

    def spec(self):
        return self._spec


class FakeTask:
    kind, unit = "kind", "unit"

    def __init__(self, name):
        self.name, self.records = name, FakeRecords(name)

    def meaning(self):
        return {"kind": self.kind, "unit": self.unit, "classes": []}


DETECTION = FakeTask("detection")


@dataclasses.dataclass(frozen=True)
class Images:
    ids: tuple[str, ...] = tuple(f"pool/ü{i}" for i in range(NUM_RECORDS))

    def __len__(self):
        return len(self.ids)

    def image_id(self, index):
        return self.ids[index]


def record_of(task: str, index: int):
    """Random but repeatable; every third has nothing along its variable axis."""
    random = np.random.default_rng(index)
    length = 0 if index % 3 == 0 else int(random.integers(1, 6))

    def value(spec):
        shape = tuple(length if size is None else size for size in spec.shape)
        if spec.dtype == "bytes":
            many = [random.bytes(int(random.integers(0, 9))) + b"\0" for _ in range(length)]
            return many if shape else random.bytes(50) + b"\0\0"
        if spec.dtype == "float32":
            return random.normal(size=shape).astype(np.float32)
        return random.integers(0, 2, size=shape).astype(spec.dtype)

    return {name: value(spec) for name, spec in SPECS[task].items()}


def records(task: str, first: int, count: int):
    for i in range(first, first + count):
        yield Images().image_id(i), None if i in EMPTY else record_of(task, i)


def writer_of(folder, task="detection", **changed):
    arguments = {"teacher_sha256": "abc", "recipe": {"size": 64}, "records_per_shard": PER_SHARD}
    return PseudoLabelWriter(folder, FakeTask(task), NUM_RECORDS, **(arguments | changed))


def write(folder, task="detection", max_shards=None):
    writer = writer_of(folder, task)
    for first, count in writer.pending_ranges()[:max_shards]:
        writer.write_shard(first, records(task, first, count))
    if max_shards is None:
        writer.finish()
    return writer


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, list | bytes):
            assert (list(found[name]) if isinstance(value, list) else found[name]) == value
        else:
            np.testing.assert_array_equal(found[name], value)
            assert np.asarray(found[name]).dtype == value.dtype


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder)
    return folder


@pytest.mark.parametrize("task", SPECS)
def test_what_was_written_is_read(task, tmp_path):
    write(tmp_path, task)
    column = PseudoLabelReader(tmp_path, Images(), FakeTask(task))
    assert len(column) == NUM_RECORDS
    assert column.specs == SPECS[task]
    for i in np.random.default_rng(0).permutation(NUM_RECORDS).tolist():
        assert column.is_empty(i) == (i in EMPTY)
        if i not in EMPTY:
            assert_same(column.read(i), record_of(task, i))
    assert verify(tmp_path, Images()) == []


@pytest.mark.parametrize("task", SPECS)
def test_plain_tfds_reads_a_column_in_order(task, tmp_path):
    write(tmp_path, task)
    dataset = tfds.builder_from_directory(tmp_path).as_dataset(split="train")
    examples = list(tfds.as_numpy(dataset))
    assert [e["id"].decode() for e in examples] == list(Images().ids)
    for i, example in enumerate(examples):
        assert example["empty"] == (i in EMPTY)
        found = {name: example[name] for name in SPECS[task]}
        if i not in EMPTY:
            assert_same(found, record_of(task, i))
        for name, spec in SPECS[task].items():
            if i in EMPTY and None in spec.shape:
                assert found[name].size == 0


def test_an_empty_record_is_read_as_zeros_only_when_asked(whole):
    column = PseudoLabelReader(whole, Images(), DETECTION)
    with pytest.raises(ValueError, match=r"record 7 of .* is empty"):
        column.read(7)
    blank = column.read_or_blank(7)
    assert blank["boxes"].shape == (0, 4)
    assert blank["masks"].shape == (0,)
    assert not blank["truncated"]
    assert_same(column.read_or_blank(8), record_of("detection", 8))


def test_a_place_outside_is_an_error(whole):
    column = PseudoLabelReader(whole, Images(), DETECTION)
    for index in (-1, NUM_RECORDS):
        with pytest.raises(IndexError):
            column.read(index)


def test_the_ledger_says_what_the_contract_says(whole):
    ledger = json.loads((whole / "ledger.json").read_text())
    assert list(ledger) == [
        *("teacher_sha256", "recipe", "versions", "task", "kind", "unit", "classes"),
        *("floor", "max_stored", "records", "empty", "shards"),
    ]
    assert ledger["teacher_sha256"] == "abc"
    assert ledger["recipe"] == {"size": 64}
    assert (ledger["records"], ledger["empty"], ledger["max_stored"]) == (NUM_RECORDS, 3, None)
    assert [(s["first"], s["count"]) for s in ledger["shards"]] == [
        *((0, 5), (5, 5), (10, 5), (15, 5), (20, 3))
    ]
    assert all(list(s) == ["name", "first", "count", "sha256"] for s in ledger["shards"])


def test_files_say_nothing_of_time_host_or_path(whole):
    for name, found in contents(whole).items():
        assert str(whole).encode() not in found, name
        assert os.uname().nodename.encode() not in found, name


def test_the_bytes_do_not_depend_on_the_order_of_a_dictionary():
    specs, one = SPECS["detection"], record_of("detection", 4)
    turned = dict(reversed(one.items()))
    expected = serialize("a", one, specs)
    assert serialize("a", turned, dict(reversed(specs.items()))) == expected
    assert_same(parse(expected, specs)[1], one)


@pytest.mark.parametrize("num_shards", [1, 3, 5])
def test_an_interrupted_column_is_continued_to_the_same_bytes(num_shards, tmp_path, whole):
    write(tmp_path, max_shards=num_shards)
    with pytest.raises(UserError, match=r'no ledger.json: run stage="label"'):
        PseudoLabelReader(tmp_path, Images(), DETECTION)
    (tmp_path / "labels-train.tfrecord-00004-of-00005.tmp").write_bytes(b"half")
    writer = writer_of(tmp_path)
    assert writer.pending_ranges() == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)][num_shards:]
    writer.clear()
    assert not list(tmp_path.glob("*.tmp"))
    write(tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_a_failure_within_a_shard_leaves_nothing_of_it(tmp_path):
    def failing():
        yield from records("detection", 0, 2)
        raise RuntimeError("the model failed")

    writer = writer_of(tmp_path)
    with pytest.raises(RuntimeError, match="the model failed"):
        writer.write_shard(0, failing())
    assert set(contents(tmp_path)) == {"started.json"}
    with pytest.raises(ValueError, match="not written yet: labels-train"):
        writer.finish()


def test_a_shard_has_exactly_its_records(tmp_path):
    writer = writer_of(tmp_path)
    with pytest.raises(ValueError, match=r"4 records for .* expected 5"):
        writer.write_shard(0, records("detection", 0, 4))
    with pytest.raises(ValueError, match="more than 5 records"):
        writer.write_shard(0, records("detection", 0, 6))
    with pytest.raises(ValueError, match="no shard starts at record 3"):
        writer.write_shard(3, records("detection", 3, 5))
    assert len(writer.pending_ranges()) == 5


KILLED = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
import test_store
writer = test_store.writer_of(pathlib.Path({folder!r}))
for first, count in writer.pending_ranges():
    def slowly():
        for i, one in enumerate(test_store.records("detection", first, count)):
            if first >= 10 and i == 3:
                print("in the middle", flush=True)
                time.sleep(60)
            yield one
    writer.write_shard(first, slowly())
"""


def test_a_killed_writer_is_continued_to_the_same_bytes(tmp_path, whole):
    tests = pathlib.Path(__file__).resolve().parent
    script = KILLED.format(tests=str(tests), folder=str(tmp_path))
    root = str(tests.parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [*tmp_path.glob("labels-train.tfrecord-00002-of-00005.*.tmp")]
    writer = writer_of(tmp_path)
    writer.clear()
    assert writer.pending_ranges() == [(10, 5), (15, 5), (20, 3)]
    write(tmp_path)
    assert contents(tmp_path) == contents(whole)
    assert verify(tmp_path, Images()) == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    found = bytearray(path.read_bytes())
    found[-20] ^= 1
    path.write_bytes(found)


@pytest.mark.parametrize("damage", [cut, flip, pathlib.Path.unlink])
@pytest.mark.parametrize("kind", ["labels-train.tfrecord", "index"])
def test_a_damaged_file_is_found_and_made_again(damage, kind, tmp_path, whole):
    write(tmp_path)
    suffix = "" if kind.startswith("labels") else ".npy"
    damage(tmp_path / f"{kind}-00001-of-00005{suffix}")
    problems = verify(tmp_path, Images())
    assert len(problems) == 1
    assert kind in problems[0]
    assert "00001-of-00005" in problems[0]
    assert writer_of(tmp_path).pending_ranges() == [(5, 5)]
    write(tmp_path)
    assert verify(tmp_path, Images()) == []
    assert contents(tmp_path) == contents(whole)


def test_a_cut_shard_is_no_record(tmp_path):
    write(tmp_path)
    column = PseudoLabelReader(tmp_path, Images(), DETECTION)
    path = tmp_path / "labels-train.tfrecord-00001-of-00005"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="00001-of-00005 is damaged: record 9 cannot be read"):
        column.read(9)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        column.read(9)


def test_a_shard_of_another_column_is_no_record(tmp_path):
    write(tmp_path)
    column = PseudoLabelReader(tmp_path, Images(), DETECTION)
    other = writer_of(tmp_path / "other")
    other.write_shard(5, (("x" * len(i), r) for i, r in records("detection", 5, 5)))
    name = "labels-train.tfrecord-00001-of-00005"
    (tmp_path / "other" / name).rename(tmp_path / name)
    with pytest.raises(DataError, match=r"is not the one that its index describes|cannot be read"):
        column.read(6)


def test_a_ledger_that_cannot_be_right(tmp_path):
    write(tmp_path)
    path = tmp_path / "ledger.json"
    ledger = json.loads(path.read_text())
    ledger["empty"] += 1
    write_json(path, ledger)
    assert verify(tmp_path, Images()) == ["3 empty records, the ledger has 4"]
    ledger["shards"].pop()
    write_json(path, ledger)
    with pytest.raises(DataError, match="its shards are not those of its records"):
        PseudoLabelReader(tmp_path, Images(), DETECTION)
    path.write_text("{")
    with pytest.raises(DataError, match=r"ledger.json is damaged"):
        PseudoLabelReader(tmp_path, Images(), DETECTION)
    assert len(verify(tmp_path, Images())) == 1
    path.unlink()
    assert "not finished" in verify(tmp_path, Images())[0]


def test_a_column_belongs_to_its_images(whole):
    ids = list(Images().ids)
    with pytest.raises(UserError, match="labels of 23 images, the source has 22"):
        PseudoLabelReader(whole, Images(tuple(ids[:-1])), DETECTION)
    ids[3], ids[4] = ids[4], ids[3]
    with pytest.raises(UserError, match="record 3 is not of image 'pool/ü4'"):
        PseudoLabelReader(whole, Images(tuple(ids)), DETECTION)
    problems = verify(whole, Images((*ids[:-1], "other")))
    assert len(problems) == 2
    assert "record 3 is not of image 'pool/ü4'" in problems[0]
    assert verify(whole, Images(Images().ids[:6])) == ["23 records, the source has 6 images"]


@pytest.mark.parametrize(
    "changed", [{"teacher_sha256": "other"}, {"recipe": {"size": 96}}, {"records_per_shard": 4}]
)
def test_labels_of_two_origins_do_not_mix(changed, tmp_path):
    write(tmp_path, max_shards=1)
    with pytest.raises(UserError, match=f"begun with another {next(iter(changed))}"):
        writer_of(tmp_path, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": np.zeros((2, 5), np.float32)}, r"'boxes'.*shape \(2, 5\)"),
        ({"classes": np.zeros(2, np.float32)}, "'classes'.*int32 expected, received float32"),
        ({"classes": np.array([2**40])}, "do not fit into int32"),
        ({"masks": ["text"]}, "bytes expected, received str"),
        ({"scores": np.array(["a"])}, "'scores'.*float32 expected"),
        ({"more": np.zeros(2)}, "has parts"),
    ],
)
def test_a_record_that_does_not_fit_is_an_error(changed, message, tmp_path):
    writer = writer_of(tmp_path)
    with pytest.raises(ValueError, match=message):
        writer.write_shard(0, [("a", record_of("detection", 1) | changed)])
    with pytest.raises(ValueError, match="an image's id"):
        writer.write_shard(0, [("", None)])


@pytest.mark.parametrize(
    "specs",
    [
        {"id": Spec((), "bytes")},
        {"empty": Spec((), "bool")},
        {"a/b": Spec((), "bool")},
        {"a": Spec((), "float64")},
        {"a": Spec((None, None), "float32")},
    ],
)
def test_a_part_that_cannot_be_stored_is_an_error(specs):
    with pytest.raises(ValueError, match="part"):
        features_of(specs)


def test_lists_and_python_numbers_are_taken():
    specs = {"a": Spec((None,), "int32"), "b": Spec((), "bool"), "c": Spec((2,), "float32")}
    found = parse(serialize("x", {"a": [], "b": True, "c": [1, 2]}, specs), specs)[1]
    assert found["a"].shape == (0,)
    assert found["b"]
    assert found["c"].tolist() == [1, 2]


def test_threads_read_with_few_open_files(tmp_path):
    number = 200
    images = Images(tuple(map(str, range(number))))
    task = FakeTask("classification")
    writer = PseudoLabelWriter(
        tmp_path, task, number, teacher_sha256="", recipe={}, records_per_shard=1
    )
    for first, _ in writer.pending_ranges():
        writer.write_shard(first, [(str(first), record_of("classification", first))])
    writer.finish()
    before = set(os.listdir("/proc/self/fd"))
    column = PseudoLabelReader(tmp_path, images, task)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        places = np.random.default_rng(0).integers(number, size=1000).tolist()
        for i, found in zip(places, pool.map(column.read, places), strict=True):
            assert_same(found, record_of("classification", i))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


def test_json_is_whole_or_as_before(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1.5, "a": [None]})
    assert list(json.loads(path.read_text())) == ["b", "a"]
    for number in (float("nan"), float("inf"), np.float64("-inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"a": {"b": [number]}})
    assert json.loads(path.read_text()) == {"b": 1.5, "a": [None]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_files_that_another_run_shares_keep_their_bytes(tmp_path):
    """A broken shard is made again in a column that was taken by hard links."""
    (tmp_path / "one").mkdir()
    writer = writer_of(tmp_path / "one")
    for first, count in writer.pending_ranges():
        writer.write_shard(first, records("detection", first, count))
    writer.finish()
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=os.link)
    before = {path: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    other = writer_of(tmp_path / "two")
    next((tmp_path / "two").glob("labels-*")).unlink()
    for first, count in other.pending_ranges():
        other.write_shard(first, records("detection", first, count))
    other.finish()
    assert {path: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before
    for name in ("features.json", "dataset_info.json", "ledger.json"):
        assert (tmp_path / "two" / name).stat().st_nlink == 1
        assert (tmp_path / "one" / name).stat().st_ino != (tmp_path / "two" / name).stat().st_ino


def test_a_person_s_file_in_a_column_is_not_tidied_away(tmp_path):
    writer = writer_of(tmp_path)
    for name in ("notes.tmp", "labels-train.tfrecord-00000-of-00005.0123abcd.tmp", "a.json.tmp"):
        (tmp_path / name).write_text("x")
    writer.clear()
    assert sorted(path.name for path in tmp_path.glob("*.tmp")) == ["a.json.tmp", "notes.tmp"]
