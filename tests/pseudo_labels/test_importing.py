"""Labels that people corrected become ground truth of the pool, and win over pseudo labels."""

import json

import numpy as np
import pytest

import must_keras as mk
from fakes import labeled_run
from must_keras.data.examples import LabeledExamples, PseudoLabels
from must_keras.data.sources import CocoJson, CsvClasses, ImagesOnly, Joined, LabelMaps
from must_keras.errors import UserError
from must_keras.pseudo_labels.exporting import export
from must_keras.pseudo_labels.importing import import_corrected
from must_keras.pseudo_labels.store import PseudoLabelReader

HEIGHT, WIDTH = 40, 60
THINGS = {"teacher": "teacher_things"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return labeled_run.make(tmp_path_factory.mktemp("run"))


def corrected(folder, results):
    """Label Studio's export of the tasks in a folder, with results instead of the predictions."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks, 1):
        task |= {"id": number, "annotations": [], "predictions": []}
        if task["data"]["file"] in results:
            task["annotations"] = [
                {"result": results[task["data"]["file"]], "was_cancelled": False}
            ]
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def result(kind, class_name, **value):
    size = {"original_height": HEIGHT, "original_width": WIDTH}
    return {"type": kind, "value": {**value, kind: [class_name]}, **size}


BOX = result("rectanglelabels", "bench", x=10, y=25, width=30, height=50)


def test_corrected_boxes_win_over_pseudo_labels(run, tmp_path):
    export(run, tmp_path / "out", format="label-studio", least_certain=2, **THINGS)
    files = {t["data"]["file"] for t in json.loads((tmp_path / "out/tasks.json").read_text())}
    first, second = sorted(files)
    path = corrected(tmp_path / "out", {first: [BOX], second: []})
    found = import_corrected(run, path, to=tmp_path / "round1", format="label-studio", **THINGS)
    assert found.num_images == 2 and found.path == tmp_path / "round1"
    source = eval(found.source)
    assert source.name == "round1" and not source.has_scores
    pile = run.recipe.pools[0].source
    pool = Joined([pile, source], name="pool")
    reader = PseudoLabelReader(
        run.labels("teacher_things", "pool").folder, pool, labeled_run.THINGS
    )
    pseudo = {"things": PseudoLabels(reader=reader, threshold=0.5)}
    examples = LabeledExamples(pool, [labeled_run.THINGS], pseudo)
    origins = {pool.image_id(i): examples.origins(i)["things"] for i in range(len(pool))}
    assert {name for name, origin in origins.items() if origin == "true"} == files
    assert set(origins.values()) == {"true", "pseudo", "missing"}
    labels = {pool.image_id(i): examples.labels(i)["things"] for i in range(len(pool))}
    np.testing.assert_allclose(labels[first]["boxes"], [[0.25, 0.1, 0.75, 0.4]], atol=1e-3)
    assert labels[first]["classes"].tolist() == [1] and not len(labels[second]["boxes"])


def test_images_with_ground_truth_are_not_exported_again(tmp_path):
    run = labeled_run.make(tmp_path, heads=("things",))
    export(run, tmp_path / "out", format="label-studio", least_certain=1, **THINGS)
    (task,) = json.loads((tmp_path / "out/tasks.json").read_text())
    path = corrected(tmp_path / "out", {task["data"]["file"]: [BOX]})
    found = import_corrected(run, path, to=tmp_path / "one", format="label-studio", **THINGS)
    pool = run.recipe.pools[0]
    joined = Joined([pool.source, eval(found.source)], name="pool")
    # A recipe is frozen: the pool's source is replaced in place.
    object.__setattr__(pool, "source", joined)
    export(run, tmp_path / "next", format="label-studio", least_certain=4, **THINGS)
    next_tasks = json.loads((tmp_path / "next/tasks.json").read_text())
    assert len(next_tasks) == 4 and task["data"]["file"] not in str(next_tasks)


def test_maps_and_classes(run, tmp_path):
    export(run, tmp_path / "maps", format="label-studio", teacher="teacher_parts")
    half = result("rectanglelabels", "Car", x=0, y=0, width=50, height=100)
    path = corrected(tmp_path / "maps", {"1.png": [half]})
    named = {"to": tmp_path / "m1", "format": "label-studio", "teacher": "teacher_parts"}
    source = eval(import_corrected(run, path, **named).source)
    assert isinstance(source, LabelMaps)
    found = {source.image_id(i): source.labels(i) for i in range(len(source))}
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[:, :30] = 1
    np.testing.assert_array_equal(found.pop("1.png")["parts"]["map"], expected)
    assert not any(found.values())

    export(run, tmp_path / "kinds", format="label-studio", teacher="teacher_kind")
    choice = result("choices", "b")
    path = corrected(tmp_path / "kinds", {"0.png": [choice]})
    named = {"to": tmp_path / "c1", "format": "label-studio", "teacher": "teacher_kind"}
    source = eval(import_corrected(run, path, **named).source)
    assert isinstance(source, CsvClasses) and source.label_spaces["kind"].classes == ("a", "b")
    assert source.labels(0)["kind"]["probabilities"].tolist() == [0, 1]


def coco(path, names, order=("car", "bench"), **changed):
    images = [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
              for i, name in enumerate(names)]  # fmt: skip
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [6, 10, 18, 20], "iscrowd": 0}
    categories = [{"id": i, "name": name} for i, name in enumerate(order, 1)]
    content = {"images": images, "categories": categories, "annotations": [box | changed]}
    path.write_text(json.dumps(content))
    return path


def test_coco_of_cvat_whatever_the_order_of_its_labels(run, tmp_path):
    path = coco(tmp_path / "a.json", ["2.png", "4.png"], order=("bench", "car"))
    found = import_corrected(run, path, to=tmp_path / "x", format="coco", **THINGS)
    source = eval(found.source)
    assert isinstance(source, CocoJson) and source.label_spaces["things"].classes == (
        "car",
        "bench",
    )
    label = source.labels(0)["things"]
    assert label["classes"].tolist() == [1] and len(source.labels(1)["things"]["boxes"]) == 0
    np.testing.assert_allclose(label["boxes"], [[0.25, 0.1, 0.75, 0.4]], atol=1e-3)


def test_yolo_that_was_exported_and_corrected(run, tmp_path):
    export(run, tmp_path / "out", format="yolo", least_certain=2, **THINGS)
    for path in (tmp_path / "out/labels").iterdir():
        path.write_text("1 0.25 0.5 0.3 0.5\n")
    data = tmp_path / "data.yaml"
    (tmp_path / "out/data.yaml").rename(data)
    named = {"format": "yolo", "images": tmp_path / "out", **THINGS}
    found = import_corrected(run, data, to=tmp_path / "x", **named)
    source = eval(found.source)
    assert found.num_images == len(source) == 2
    for i in range(2):
        np.testing.assert_allclose(
            source.labels(i)["things"]["boxes"], [[0.25, 0.1, 0.75, 0.4]], atol=1e-3
        )


def test_from_python(run, tmp_path):
    run.record()
    path = coco(tmp_path / "a.json", ["2.png"])
    found = mk.import_labels(run.recipe, path, run.path, to=tmp_path / "x", format="coco")
    assert str(found) == f"1 images: {tmp_path}/x\njoin with the pool: {found.source}"


@pytest.mark.parametrize(
    ("names", "changed", "problem"),
    [
        (["z.png"], {}, "'z.png', which is not in"),
        (["2.png"], {"order": ("car", "tree")}, "does not fit head 'things' (the other)"),
        (["2.png"], {"score": 0.5}, "has objects with scores: they are a model's"),
    ],
)
def test_files_that_do_not_fit(run, names, changed, problem, tmp_path):
    path = coco(tmp_path / "a.json", names, **changed)
    with pytest.raises(UserError) as error:
        import_corrected(run, path, to=tmp_path / "x", format="coco", **THINGS)
    assert problem in str(error.value) and str(path) in str(error.value)
    assert not (tmp_path / "x").exists()


def test_images_of_another_folder(run, tmp_path):
    other = ImagesOnly(name="o", root=run.recipe.pools[0].source.file(0).parent)
    (tmp_path / "o" / "sub").mkdir(parents=True)
    for index, name in ((2, "2.png"), (3, "other.png")):
        (tmp_path / "o" / "sub" / name).write_bytes(other.file(index).read_bytes())
    named = {"format": "coco", "images": tmp_path / "o", **THINGS}
    path = coco(tmp_path / "a.json", ["sub/2.png"])
    assert import_corrected(run, path, to=tmp_path / "x", **named).num_images == 1
    path = coco(tmp_path / "a.json", ["sub/other.png"])
    with pytest.raises(UserError, match="'sub/other.png', which is no image of pool 'pool'"):
        import_corrected(run, path, to=tmp_path / "y", **named)


def test_what_is_asked_for(run, tmp_path):
    path = coco(tmp_path / "a.json", ["2.png"])
    with pytest.raises(UserError, match="format=maps; allowed are coco, yolo, label-studio"):
        import_corrected(run, path, to=tmp_path / "x", format="maps")
    with pytest.raises(UserError, match="3 teachers have such labels") as error:
        import_corrected(run, path, to=tmp_path / "x", format="label-studio")
    assert error.value.key == "teacher"
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        import_corrected(run, path, to=tmp_path / "x", format="coco", **THINGS)
