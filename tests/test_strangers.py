"""What others made is data: nothing that a file names is imported, run, or read elsewhere."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from fakes.labeled_run import THINGS, make
from fakes.results import finish
from must_keras.data import names
from must_keras.data.sources import CocoJson, CocoPanoptic, Objects365, VocXml, tfds_folder
from must_keras.data.sources.tfds_readings import tfds_builder
from must_keras.errors import UserError
from must_keras.pseudo_labels import viewer
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import StudentResult

EVIL = "evil.features.Evil"
PROGRAM = "import os, pathlib; pathlib.Path(__file__).with_name('executed').write_text('')\n"


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported; returns the path of the trace."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(PROGRAM)
    (tmp_path / "evil" / "features.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "evil" / "executed"


def name_evil(folder):
    """Make a TFDS folder's features.json name the module."""
    path = folder / "features.json"
    text = path.read_text()
    features = json.loads(text)
    inner = features["featuresDict"]["features"]
    next(iter(inner.values()))["pythonClassName"] = EVIL
    path.write_text(json.dumps(features))


def test_a_column_imports_nothing(tmp_path, evil):
    run = make(tmp_path, heads=("things",))
    labels, source = run.labels("teacher_things", "pool"), run.recipe.pools[0].source
    expected = PseudoLabelReader(labels.folder, source, THINGS).read(0)
    name_evil(labels.folder)
    found = PseudoLabelReader(labels.folder, source, THINGS)
    assert found.specs == THINGS.records.spec()
    np.testing.assert_array_equal(found.read(0)["boxes"], expected["boxes"])
    # A sibling's dataset is reused, and is data too.
    own = Artifact(folder=tmp_path / "own" / "labels", others=(labels.folder,))
    assert own.declare(find_inputs=dict).is_complete()
    np.testing.assert_array_equal(
        PseudoLabelReader(own.folder, source, THINGS).read(0)["boxes"], expected["boxes"]
    )
    viewer.write(run)
    shutil.rmtree(labels.folder / "missing", ignore_errors=True)
    for name in ("features.json", "dataset_info.json"):
        (labels.folder / name).write_bytes(b"\0")
    assert len(PseudoLabelReader(labels.folder, source, THINGS)) == len(source)
    assert not evil.exists()


def test_a_column_of_another_task_is_no_column_of_this(tmp_path):
    run = make(tmp_path, heads=("parts",))
    folder, source = run.labels("teacher_parts", "pool").folder, run.recipe.pools[0].source
    with pytest.raises(Exception, match="tfrecord.* is damaged: .*it has no part 'boxes'"):
        PseudoLabelReader(folder, source, THINGS).read(0)


def test_plain_tfds_would_import_it(tmp_path, evil):
    folder = make(tmp_path, heads=("things",)).labels("teacher_things", "pool").folder
    assert len(tfds_folder(folder).info.features) == 9
    name_evil(folder)
    with pytest.raises(UserError, match=rf"features.json names the class {EVIL}.*trust"):
        tfds_folder(folder)
    assert not evil.exists()
    with pytest.raises(ValueError, match="Evil"):
        tfds.builder_from_directory(folder)
    assert evil.exists()  # The test can fail.


@pytest.mark.parametrize(
    "features",
    [
        {"type": EVIL, "content": {}},
        {"python_class_name": EVIL, "featuresDict": {}},
        {"pythonClassName": "tensorflow_datasets.core.features.Text", "jsonFeature": {
            "json": json.dumps({"inner": {"type": EVIL}})}},
        {"pythonClassName": "tensorflow_datasets.core.features.x; evil.Evil"},
        {"pythonClassName": "os.path"}, 3,
    ],
)  # fmt: skip
def test_every_place_where_tfds_looks_for_a_class(features, tmp_path, evil):
    folder = tmp_path / "data" / "flowers" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(UserError):
        tfds_folder(folder)
    with pytest.raises(UserError):
        tfds_builder("flowers", data_dir=str(tmp_path / "data"))
    assert not evil.exists()


# ---- files that name others ---------------------------------------------------------------------

OUTSIDE = ("../secret.png", "a/../../secret.png", "ABSOLUTE")


@pytest.fixture(params=OUTSIDE)
def outside(request, tmp_path):
    """The name of a picture outside of tmp_path/images, as an annotation file may have it."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    for path in (tmp_path / "secret.png", tmp_path / "images" / "a" / "in..side.png"):
        Image.new("RGB", (8, 6)).save(path)
    return str(tmp_path / "secret.png") if request.param == "ABSOLUTE" else request.param


def coco(name, **more):
    return {
        "images": [{"id": 1, "file_name": name, "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [],
    } | more


def test_names_that_lead_out_of_the_folder(outside, tmp_path):
    images, path = tmp_path / "images", tmp_path / "a.json"
    path.write_text(json.dumps(coco(outside)))
    with pytest.raises(UserError, match=r"a.json.*secret.png.* outside of the folder"):
        CocoJson(name="x", images=images, annotations=path, head="h")
    with pytest.raises(UserError, match=r"secret.png.* outside of the folder"):
        Objects365(name="x", images=images, annotations=path, head="h")
    with pytest.raises(UserError, match=r"a.json.*secret.png.* outside of the folder"):
        CocoPanoptic(name="x", images=images, maps=images, annotations=path, head="h")
    map_ = [{"image_id": 1, "file_name": outside, "segments_info": []}]
    path.write_text(json.dumps(coco("a/in..side.png", annotations=map_)))
    with pytest.raises(UserError, match=r"a.json.*secret.png.* outside of the folder"):
        CocoPanoptic(name="x", images=images, maps=images, annotations=path, head="h")
    with pytest.raises(UserError, match=r"secret.png.* outside of the folder"):
        names.check_inside([outside], "any list")


def test_two_dots_within_a_name_lead_nowhere(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "images" / "a" / "in..side.png")
    (tmp_path / "a.json").write_text(json.dumps(coco("a/in..side.png")))
    source = CocoJson(
        name="x", images=tmp_path / "images", annotations=tmp_path / "a.json", head="h"
    )
    assert source.image_id(0) == "a/in..side.png"


LAUGHS = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' if i else '<!ENTITY l0 "lol">' for i in range(12)
)


@pytest.mark.parametrize(
    "doctype",
    [
        f"<!DOCTYPE annotation [{LAUGHS}]>",
        '<!DOCTYPE annotation [<!ENTITY l11 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
)
def test_xml_has_no_entities(doctype, tmp_path):
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "JPEGImages" / "1.jpg")
    body = "<object><name>&l11;</name></object>" if "ENTITY" in doctype else ""
    (tmp_path / "Annotations" / "1.xml").write_text(
        f'<?xml version="1.0"?>{doctype}<annotation>{body}</annotation>'
    )
    with pytest.raises(UserError, match=r"1.xml.*DOCTYPE.*delete that line"):
        VocXml(name="x", root=tmp_path, split=None, head="h")


# ---- pages --------------------------------------------------------------------------------------


def test_names_are_text_in_the_pages(tmp_path):
    script = "</script><img src=x onerror=alert(1)>"
    run = make(tmp_path)
    teachers = tuple(
        dataclasses.replace(item, task=dataclasses.replace(item.task, classes=(script, "b")))
        if item.task.name in ("things", "kind")
        else item
        for item in run.recipe.teachers
    )
    Image.new("RGB", (20, 20)).save(tmp_path / "pool" / "<img src=y onerror=alert(2)>.png")
    recipe = dataclasses.replace(run.recipe, name=script, teachers=teachers)
    viewer.write(dataclasses.replace(run, recipe=recipe))
    page = (run.path / viewer.NAME).read_text()
    assert "onerror" in page and "<img src" not in page
    for path in pathlib.Path(viewer.__file__).parent.glob("*.js"):
        text = path.read_text()
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text, path.name


def test_a_damaged_run_beside_this_one_is_passed_over(tmp_path, capsys):
    name = os.urandom(4).hex()  # Warnings are printed once.
    for run in ("damaged", "whole"):
        other = Artifact(folder=tmp_path / f"{run}{name}" / "student", result_type=StudentResult)
        other = other.declare(find_inputs=lambda: {"a": 1})
        other.begin()
        finish(other)
    (tmp_path / f"damaged{name}" / "student" / "finished.json").write_text("{")
    others = tuple(tmp_path / f"{run}{name}" / "student" for run in ("damaged", "whole"))
    own = Artifact(folder=tmp_path / "own" / "student", others=others)
    assert own.declare(find_inputs=lambda: {"a": 1}).is_complete()
    assert "finished.json is damaged" in capsys.readouterr().err
