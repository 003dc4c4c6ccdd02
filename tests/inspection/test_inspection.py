"""Folders of every form become a recipe that loads and passes preflight, or a question."""

import json
import pathlib
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tensorflow_datasets.core import constants

from fakes import arranged_folders as of
from fakes import public_datasets
from must_keras import experiment
from must_keras.errors import UserError
from must_keras.inspection import init, inspect, recipe_text, write_recipe
from must_keras.runs import preflight
from must_keras.runs.run import Run
from must_keras.training.config import TrainingConfig


def made(found, tmp_path):
    """The recipe that an inspection is written as, loaded and checked as a run would."""
    path = tmp_path / "written.py"
    write_recipe(found, path)
    recipe = experiment.load(str(path), {}, data_dir=None)
    preflight.check_data(Run(recipe=recipe, path=tmp_path / "run"))
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 120
    return recipe


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


# ---- each form alone ----------------------------------------------------------------------------

FORMS = {
    "class folders": (lambda d: of.classes(d / "trees"), "classes", "trees"),
    "class folders in splits": (
        lambda d: [of.classes(d / "trees" / s) for s in ("train", "valid", "test")],
        "classes",
        "trees",
    ),
    "a table": (lambda d: of.table(d / "leaves"), "classes", "leaves"),
    "COCO": (lambda d: of.coco(d / "fruit"), "boxes", "fruit"),
    "COCO without masks": (lambda d: of.coco(d / "fruit", masks=False), "boxes", "fruit"),
    "COCO's own layout": (
        lambda d: [
            of.coco(d / "fruit", images=f"{s}2017", file=f"annotations/instances_{s}2017.json")
            for s in ("train", "val")
        ],
        "boxes",
        "fruit",
    ),
    "COCO beside the images": (
        lambda d: [
            of.coco(d / "fruit" / s, images="", file="_annotations.coco.json")
            for s in ("train", "valid", "test")
        ],
        "boxes",
        "fruit",
    ),
    "VOC": (lambda d: of.voc(d / "cards"), "boxes", "cards"),
    "YOLO": (lambda d: of.yolo(d / "fruit"), "boxes", "fruit"),
    "YOLO without splits": (lambda d: of.yolo(d / "fruit", [""]), "boxes", "fruit"),
    "YOLO of Label Studio": (
        lambda d: of.yolo(d / "fruit", [""], yaml="classes.txt"),
        "boxes",
        "fruit",
    ),
    "tags in columns": (
        lambda d: of.tag_table(d / "scene", "image,beach,people 1,0 0,1 1,1 ,1 0,0 1,1.0"),
        "tags",
        "scene",
    ),
    "tags in a list": (
        lambda d: of.tag_table(d / "scene", "image,tags beach|sea sea beach beach|sea sea sea"),
        "tags",
        "scene",
    ),
    "tags of words, without suffixes": (
        lambda d: of.tag_table(d / "scene", "id,tags b_s s b b_s s b", suffix=""),
        "tags",
        "scene",
    ),
    "Parquet": (
        lambda d: of.parquets(d / "beans/data", ["a.parquet", "b.parquet"]),
        "classes",
        "beans",
    ),
    "Parquet in splits": (
        lambda d: of.parquets(
            d / "beans/data",
            [f"{s}-{i}.parquet" for s in ("train", "valid", "test") for i in (0, 1)],
        ),
        "classes",
        "beans",
    ),
    "Parquet in folders of splits": (
        lambda d: [of.parquets(d / "beans" / s, ["0000.parquet"]) for s in ("train", "test")],
        "classes",
        "beans",
    ),
    "maps": (lambda d: of.maps(d / "street/images", d / "street/labels"), "map", "street"),
    "palettes": (
        lambda d: of.maps(d / "street/images", d / "street/masks", palette=True),
        "map",
        "street",
    ),
    "masks of 0 and 255": (
        lambda d: of.maps(d / "skin/images", d / "skin/masks", values=(0, 255)),
        "map",
        "skin",
    ),
    "colors": (lambda d: of.color_maps(d / "street/images", d / "street/colors"), "map", "street"),
    "maps in splits": (
        lambda d: [
            of.maps(d / "street" / s, d / "street" / f"{s}annot") for s in ("train", "val", "test")
        ],
        "map",
        "street",
    ),
    "maps in splits below": (
        lambda d: [
            of.maps(d / "street/images" / s, d / "street/labels" / s) for s in ("train", "val")
        ],
        "map",
        "street",
    ),
    "scenes": (
        lambda d: [
            of.maps(d / "street/images" / s, d / "street/labels" / s) for s in ("city1", "city2")
        ],
        "map",
        "street",
    ),
    "normals": (lambda d: of.normals(d / "walls/rgb", d / "walls/normals"), "normals", "walls"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_a_recipe(form, data, tmp_path):
    make, kind, name = FORMS[form]
    make(data)
    found = inspect(data)
    assert [one.name for one in found.sets] == [name] and not found.questions
    recipe = made(found, tmp_path)
    (teacher,) = recipe.teachers
    assert teacher.name == teacher.task.name == name and teacher.task.kind == kind
    assert not recipe.pools and not recipe.transfers
    assert str(data / name) in str(found)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".exr"])
def test_the_unit_of_depth_is_asked_for(suffix, data, tmp_path):
    of.depths(data / "far/rgb", data / "far/depth", suffix)
    found = inspect(data)
    (question,) = found.questions
    assert question.key == "unit" and not found.sets
    unit = "millimeters" if suffix == ".png" else "meters"
    assert question.answers[0] == f"{data / 'far/depth'}:unit={unit}"
    with pytest.raises(UserError, match=f"unit of its depths.*{unit}"):
        write_recipe(found, tmp_path / "asked.py")
    assert not (tmp_path / "asked.py").exists()
    recipe = made(inspect([data, question.answers[0]]), tmp_path)
    (teacher,) = recipe.teachers
    depth = teacher.sets.train.labels(0)["far"]["depth"]
    assert 0.4 < np.median(depth) < 4


def test_all_forms_together(data, tmp_path):
    of.classes(data / "species")
    of.classes(data / "trees", names=("old", "young"), count=10)
    of.coco(data / "fruit")
    of.depths(data / "depth/rgb", data / "depth/depth")
    of.photos(data / "pile/deep")
    found = inspect([data, f"{data}/depth:unit=millimeters"])
    recipe = made(found, tmp_path)
    assert [t.name for t in recipe.teachers] == ["fruit", "depth", "trees"]
    # The smaller one of two sets of classes is left for a transfer.
    assert [t.name for t in recipe.transfers] == ["species"]
    assert [p.source.name for p in recipe.pools] == ["pile"]
    stated = inspect([data, f"{data}/depth:unit=0.001", f"{data}/fruit:use=transfer"])
    assert [one.name for one in stated.sets if one.is_downstream] == ["fruit", "species"]


# ---- splits -------------------------------------------------------------------------------------


def test_given_splits_stay(data):
    for split, count in (("train", 5), ("val", 4), ("test", 3)):
        of.classes(data / split, count=count)
    (found,) = inspect(data).sets
    assert found.counts == (15, 12, 9) and not found.split.is_carved


def test_a_missing_split_is_carved_and_said(data):
    for split in ("train", "test"):
        of.classes(data / "trees" / split, count=10)
    found = inspect(data)
    assert found.sets[0].counts == (27, 3, 30)
    assert "no validation split given: 3 images of train, sampled at random" in str(found)


def test_a_column_of_a_table_gives_the_splits(data, tmp_path):
    names = ["Train"] * 6 + ["valid"] * 2 + ["test"] * 2
    table = of.table(data / "leaves", further={"usage": names + [""] * 2})
    found = inspect(data)
    assert found.sets[0].counts == (6, 2, 2) and not found.sets[0].split.is_carved
    assert "rows without a usage (2) are not used" in str(found)
    sets = made(found, tmp_path).teachers[0].sets
    assert [sets.validation.image_id(i) for i in range(2)] == ["006.jpg", "007.jpg"]
    assert sets.test.label_spaces == sets.train.label_spaces
    text = (tmp_path / "written.py").read_text()
    assert 'split_column="usage", split=split' in text and 'train="Train"' in text
    assert inspect([data, f"{table}:split=none"]).sets[0].split.is_carved


def test_a_table_of_each_split_about_one_folder_of_images(data, tmp_path):
    table = of.table(data / "leaves")
    header, *rows = table.read_text().splitlines()
    table.unlink()
    for split, some in (("train", rows[:6]), ("val", rows[6:8]), ("test", rows[8:])):
        (data / "leaves" / f"{split}.csv").write_text("\n".join((header, *some)) + "\n")
    found = inspect(data)
    assert found.sets[0].counts == (6, 2, 2) and not found.sets[0].split.is_carved
    sets = made(found, tmp_path).teachers[0].sets
    assert [sets.validation.image_id(i) for i in range(2)] == ["006.jpg", "007.jpg"]
    assert sets.test.label_spaces == sets.train.label_spaces


@pytest.mark.parametrize(
    ("further", "text", "answers"),
    [
        ({"fold": [str(i % 5) for i in range(12)]},
         "its column fold has the values 0, 1, 2 and 2 more, and splits are called", ["none"]),
        ({"subset": ["train"] * 12}, "has the values train, and", ["none"]),
        ({"split": ["train", "test", "TEST"] * 4}, "has the values TEST, test, train", ["none"]),
        ({"a": ["train", "test"] * 6, "b": ["test", "train"] * 6},
         "which of its columns a, b names the splits?", ["a", "b", "none"]),
    ],
)  # fmt: skip
def test_a_column_that_may_name_the_splits_is_asked_about(further, text, answers, data):
    table = of.table(data / "leaves", further=further)
    found = inspect(data)
    (question,) = found.questions
    assert text in question.text and not found.sets and not found.pools
    assert question.answers == tuple(f"{table}:split={answer}" for answer in answers)
    (one,) = inspect([data, question.answers[0]]).sets
    assert one.split.is_carved
    with pytest.raises(UserError, match="did you mean"):
        inspect([data, f"{table}:split={next(iter(further))}s"])


def test_lists_give_the_splits(data, tmp_path):
    of.coco(data / "fruit")
    for split, names in (("train", "000 001 002"), ("val", "003"), ("test", "004")):
        (data / "fruit" / f"{split}.txt").write_text("\n".join(names.split()))
    found = inspect(data)
    assert found.sets[0].counts == (3, 1, 1)
    assert made(found, tmp_path).teachers[0].sets.test.image_id(0) == "004.jpg"


def test_a_film_is_cut_into_blocks(data, tmp_path):
    of.film(data / "walk/rgb")
    for i in range(24):
        of.save(data / "walk/maps" / f"a{i:04}.png", np.full((48, 64), i % 3, np.uint8))
    found = inspect(data)
    assert "a film" in found.sets[0].split.reason
    sets = made(found, tmp_path).teachers[0].sets
    ids = [[s.image_id(i) for i in range(len(s))] for s in (sets.train, sets.validation, sets.test)]
    assert max(ids[0]) < min(ids[1]) <= max(ids[1]) < min(ids[2])


def test_a_split_that_lacks_a_class_has_all_classes(data, tmp_path):
    of.classes(data / "train", count=10)
    of.classes(data / "test", names=("elm", "oak"))
    sets = made(inspect(data), tmp_path).teachers[0].sets
    assert sets.test.label_spaces == sets.train.label_spaces
    assert sets.test.label_spaces["data"].classes == ("elm", "fir", "oak")


# ---- what is in doubt ---------------------------------------------------------------------------


def test_doubts_are_reported(data):
    of.classes(data / "pets", names=("Cat", "cat", "dog"), count=6)
    one, other = data / "pets/dog/012.jpg", data / "pets/dog/copy.jpg"
    other.write_bytes(one.read_bytes())
    (data / "pets/dog/broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    of.photos(data / "photos/a", 3)
    found = inspect(data)
    text = "\n".join(found.warnings)
    assert "'Cat' and 'cat' differ in case" in text
    assert "exactly the bytes of another" in text and str(other) in text
    of.table(data / "leaves")
    text = "\n".join(inspect(data).warnings)
    assert "have no label" in text


def test_names_of_classes_are_text_and_no_code(data, tmp_path):
    of.coco(data / "fruit")
    path = data / "fruit/instances.json"
    path.write_text(path.read_text().replace('"apple"', json.dumps('a\n1/0 #"""\\')))
    of.classes(data / "trees", names=("it's", 'the "old" one', "naïve 木"))
    recipe = made(inspect(data), tmp_path)
    assert recipe.teachers[0].task.classes[0] == 'a\n1/0 #"""\\'


def test_a_broken_image_is_reported(data):
    of.classes(data, count=10)
    for name in ("elm", "fir", "oak"):
        for i in range(3):
            (data / name / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff nothing")
    assert "unreadable, the first" in "\n".join(inspect(data).warnings)


def test_dates_or_classes_are_asked_for(data, tmp_path):
    of.classes(data, names=("2023", "2024"))
    (question,) = inspect(data).questions
    assert question.values == ("classes", "images")
    assert [one.name for one in inspect(f"{data}:kind=classes").sets] == ["data"]
    found = inspect([f"{data}:kind=images"])
    assert len(found.pools[0].source) == 12
    with pytest.raises(UserError, match="no labeled set"):
        write_recipe(found, tmp_path / "none.py")


def test_a_stray_image_beside_class_folders_is_asked_about(data):
    of.classes(data, count=20)
    of.photo(data / "stray.jpg")
    (question,) = inspect(data).questions
    assert "stray.jpg" in question.text


def test_photos_beside_sets_are_not_used(data):
    of.coco(data / "fruit")
    of.photos(data, 3)
    found = inspect(data)
    assert "move them into a folder of their own" in found.unused[data]


def test_numbers_of_objects_are_no_labels(data):
    of.instances(data / "cells/images", data / "cells/ids", most=100)
    of.instances(data / "few/images", data / "few/ids", most=5)
    found = inspect(data)
    assert "instances" in found.unused[data / "cells/ids"] and not found.sets
    assert [pool.place for pool in found.pools] == [data / "cells/images"]
    (question,) = found.questions
    assert question.answers == (f"{data}/few/ids:kind=skip", f"{data}/few/ids:kind=map")
    assert [one.found.kind.noun for one in inspect([data, question.answers[1]]).sets] == ["maps"]


def test_normals_of_another_camera_are_asked_about(data):
    of.normals(data / "rgb", data / "normals", blue=255)
    (question,) = inspect(data).questions
    assert question.values == ("opengl", "directx")
    (found,) = inspect([data, question.answers[0]]).sets
    assert found.splits.train.labels(0)[found.name]["normals"][0, 0, 2] < 0


def test_unlabeled_test_images_are_no_pool(data):
    of.photos(data / "train")
    of.photos(data / "test", 4)
    found = inspect(data)
    assert [pool.place for pool in found.pools] == [data / "train"]
    assert found.unused[data / "test"].startswith("its images are unlabeled")


def test_tables_of_boxes_and_other_columns_are_named(data):
    of.table(data / "a", header="file,xmin,xmax")
    of.table(data / "b", header="file,sort,place")
    found = inspect(data)
    assert "boxes in CSV" in found.unused[data / "a/labels.csv"]
    assert "sort, place" in found.unused[data / "b/labels.csv"]
    (one,) = inspect([data, f"{data}/b/labels.csv:class=sort"]).sets
    assert one.name == "b"


def test_coco_with_keys_that_other_files_have_is_coco(data):
    of.coco(data / "fruit")
    path = data / "fruit/instances.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image |= {"original_width": 640, "original_height": 480, "caption": "an apple"}
    path.write_text(json.dumps(content))
    found = inspect(data)
    assert [one.found.form for one in found.sets] == ["COCO JSON"] and not found.unused


def test_boxes_of_yolo_without_names_of_classes_are_named(data):
    of.yolo(data, ["train"])
    (data / "data.yaml").unlink()
    found = inspect(data)
    assert "no file names their classes: write data.yaml" in found.unused[data / "labels/train"]
    assert len(found.pools[0].source) == 10


def test_splits_of_yolo_that_are_there_and_a_pool_beside_them(data):
    of.yolo(data / "fruit", ("train", "valid"))
    with (data / "fruit/data.yaml").open("a") as file:
        file.write("\ntest: ../test/images\nkpt_shape: [1, 2]\n")
    for path in (data / "fruit/labels").rglob("*.txt"):
        path.write_text("0 0.5 0.5 0.25 0.5 0.1 0.1\n")
    of.photos(data / "fruit/more", 4)
    found = inspect(data)
    (one,), (pool,) = found.sets, found.pools
    assert one.counts == (9, 1, 10) and one.found.remarks == ("keypoints are not read, boxes are",)
    assert pool.place == data / "fruit/more" and not found.questions
    assert one.split.call.positional[0].body.name == "mk.YoloTxt"


def test_exports_of_label_studio_are_named(data):
    of.photos(data / "photos", 4)
    result = {"original_width": 64, "type": "rectanglelabels", "value": {}}
    task = {"id": 1, "data": {"image": "000.jpg"}, "annotations": [{"result": [result]}]}
    (data / "export.json").write_text(json.dumps([task]))
    assert "LabelStudioJson" in inspect(data).unused[data / "export.json"]


def test_other_yaml_is_no_dataset_of_yolo(data):
    of.photos(data / "photos", 4)
    (data / "photos/a.yaml").write_text("names: [a]\nlevels: 3\n")
    (data / "photos/b.yml").write_text("train: 3\nval: 4\n")
    found = inspect(data)
    assert not found.questions and not found.sets and len(found.pools) == 1


def test_a_mistake_in_a_dataset_of_yolo_is_a_question(data):
    of.yolo(data / "fruit")
    (data / "fruit/labels/train/003.txt").write_text("7 0.5 0.5 0.25 0.5\n")
    (question,) = inspect(data).questions
    assert "003.txt, line 1 has class 7" in str(question)
    (data / "fruit/data.yaml").write_text("names: 3\ntrain: images/train\n")
    (question,) = inspect(data).questions
    assert "has the 'names' 3" in str(question)
    assert not inspect([data, question.answers[0]]).sets


def test_folders_within_classes_are_a_question_of_meaning(data):
    for name in ("elm", "fir", "oak"):
        of.classes(data / name, names=("tree1", "tree2"))
    found = inspect(data)
    assert [one.name for one in found.sets] == ["elm", "fir", "oak"]
    assert f"'{data}:kind=classes'" in str(found)
    (one,) = inspect([f"{data}:kind=classes"]).sets
    assert one.splits.train.label_spaces["data"].classes == ("elm", "fir", "oak")


def test_scenes_of_their_own_are_one_set_by_hand(data):
    for scene in ("scene1", "scene2", "scene3"):
        of.depths(data / scene / "rgb", data / scene / "depth")
    found = inspect([data, f"{data}:unit=millimeters"])
    assert "scene2 and scene3 have labels of the same meaning" in "\n".join(found.warnings)


def test_drawings_of_classes_are_no_label_maps(data):
    for name in ("alpha", "beta", "gamma"):
        for i in range(6):
            of.save(data / name / f"{i}.png", np.eye(32, dtype=np.uint8)[i:] * 255)
    (found,) = inspect(data).sets
    assert found.found.form == "a folder per class" and found.counts == (12, 2, 4)


def test_labels_within_the_folder_of_images_are_refused(data):
    of.maps(data / "images", data / "images/masks")
    found = inspect(data)
    assert not found.sets and "move them beside" in found.unused[data / "images/masks"]


def test_keypoints_beside_boxes_are_ignored(data):
    of.coco(data)
    content = json.loads((data / "instances.json").read_text())
    for annotation in content["annotations"]:
        annotation["keypoints"] = [1, 2, 2]
    (data / "person_keypoints.json").write_text(json.dumps(content))
    found = inspect(data)
    assert len(found.sets) == 1
    assert found.unused[data / "person_keypoints.json"] == "keypoints are ignored"


def test_a_source_that_refuses_its_files_is_a_question(data):
    of.maps(data / "street/images", data / "street/labels")
    (data / "street/images/000.jpg").unlink()
    (question,) = inspect(data).questions
    assert "has no image" in question.text and question.values == ("skip",)
    found = inspect([data, question.answers[0]])
    assert not found.sets and not found.questions


# ---- arguments ----------------------------------------------------------------------------------


def test_empty_and_absent_folders(data):
    with pytest.raises(UserError, match="there is no folder"):
        inspect(data)
    data.mkdir()
    with pytest.raises(UserError, match="no image was found"):
        inspect(data)


def test_nothing_is_overwritten(data, tmp_path):
    of.classes(data)
    path = tmp_path / "mine.py"
    path.write_text("mine")
    with pytest.raises(UserError, match=r"mine\.py exists"):
        init([data], path)
    assert path.read_text() == "mine"
    with pytest.raises(UserError, match=r"expected the name of a \.py file"):
        init([data], tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (":kind=clases", "did you mean 'classes'"),
        (":knd=classes", "did you mean 'kind'"),
        (":unit=miles", "meters per count"),
        (":axes=opengl", "answers no question"),
    ],
)
def test_an_answer_that_answers_nothing(answer, message, data):
    of.classes(data / "trees")
    with pytest.raises(UserError, match=message):
        inspect(f"{data}{answer}")


def test_a_recipe_needs_a_teacher(data):
    of.classes(data / "trees")
    with pytest.raises(UserError, match="leaves none for a teacher"):
        inspect(f"{data}:use=transfer")


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The folder where TFDS keeps its datasets."""
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path / "prepared"))
    return tmp_path / "prepared"


def test_a_tfds_name_that_is_not_prepared_is_a_question(data):
    of.classes(data)
    (question,) = inspect([data, "tfds:eurosat"]).questions
    assert "tfds build eurosat" in question.text
    with pytest.raises(UserError, match="no dataset 'eurosatt'"):
        inspect("tfds:eurosatt")


def test_tfds_names_that_are_prepared(prepared, tmp_path):
    public_datasets.cifar100(prepared)
    found = inspect("tfds:cifar100")
    assert [(one.name, one.counts) for one in found.sets] == [("cifar100", (11, 1, 6))]
    recipe = made(found, tmp_path)
    assert len(recipe.teachers[0].task.classes) == 100
    text = (tmp_path / "written.py").read_text()
    assert re.findall(r"^(?:import|from) .*", text, re.M) == ["import must_keras as mk"]
    assert "data_dir: str | None = None" in text and "{data}" not in text
    assert 'train="train", test="test", validation=1,' in text
    (coarse,) = inspect("tfds:cifar100:class=coarse_label").sets
    assert len(coarse.splits.train.label_spaces["cifar100"].classes) == 20


def test_depths_of_tfds_have_a_unit_that_is_asked_for(prepared):
    public_datasets.nyu_depth(prepared)
    (question,) = inspect("tfds:nyu_depth_v2").questions
    assert question.answers[0] == "tfds:nyu_depth_v2:unit=meters"
    found = inspect(question.answers[0])
    assert [(one.found.kind.noun, one.counts) for one in found.sets] == [("depth", (2, 1, 2))]
    depth = found.sets[0].splits.train.labels(0)["nyu_depth_v2"]["depth"]
    assert 1 <= depth.min() <= 3 and depth.max() == 4
    assert "depth_scale=1.0" in recipe_text(found, name="rooms")


def test_maps_of_tfds_are_labels_too(prepared, tmp_path):
    public_datasets.pets(prepared)
    found = inspect("tfds:oxford_iiit_pet")
    assert found.sets[0].found.kind.noun == "classes" and "segmentation_mask'" in str(found)
    found = inspect("tfds:oxford_iiit_pet:class=segmentation_mask")
    assert "names of its 3 classes are not known" in str(found)
    (teacher,) = made(found, tmp_path).teachers
    assert teacher.task.kind == "map" and len(teacher.task.classes) == 3
    label = teacher.sets.train.labels(0)["oxford_iiit_pet"]["map"]
    assert (label[0, 0], label[9, 11], label[20, 20]) == (1, 2, 0)
    assert "values=(1, 2, 3)" in (tmp_path / "written.py").read_text()
    with pytest.raises(UserError, match="did you mean 'segmentation_mask'"):
        inspect("tfds:oxford_iiit_pet:class=segmentation")


def test_the_image_of_tfds_may_have_another_name(prepared):
    public_datasets.lost_and_found(prepared)
    found = inspect("tfds:lost_and_found")
    assert 'image="image_left"' in recipe_text(found, name="road")
    assert found.sets[0].splits.train.image(0).shape == (1024, 2048, 3)


def test_three_sets_are_a_short_recipe(data, tmp_path):
    of.classes(data / "species")
    of.coco(data / "fruit")
    of.depths(data / "far/rgb", data / "far/depth")
    of.photos(data / "pile")
    recipe = made(inspect([data, f"{data}/far:unit=millimeters"]), tmp_path)
    text = (tmp_path / "written.py").read_text()
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) <= 55, text
    assert re.findall(r"^(?:import|from) .*", text, re.M) == ["import must_keras as mk"]
    # Heads, names of teachers and everything that equals a default are left out.
    for given in (
        "head=",
        "seed=",
        "starts=",
        "batch=",
        "validation=0.1",
        "with_masks",
        "pools=()",
    ):
        assert given not in text, given
    fruit = recipe.teacher("fruit").task
    assert fruit.max_boxes == 16 and f"anchor_scales={fruit.anchor_scales}" in text
    assert "# max_boxes: at most 1 object is in one of " in text
    far, species = recipe.teacher("far"), recipe.teacher("species")
    assert far.training.augmentation.scale == (1.0, 1.0) and "depth_scale=0.001" in text
    assert species.training == TrainingConfig(steps=200) and species.task.name == "species"


def test_three_sets_in_folders_of_splits_are_a_short_recipe(data, tmp_path):
    for split in ("train", "valid", "test"):
        of.classes(data / "species" / split)
        of.coco(data / "fruit", images=split, file=f"annotations/instances_{split}.json")
        of.maps(data / "street" / split, data / "street" / f"{split}annot")
    found = inspect(data)
    recipe = made(found, tmp_path)
    text = (tmp_path / "written.py").read_text()
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) <= 60, text
    assert "head=" not in text and text.count("instances_") == 1 and text.count("classes=") == 1
    # What is written is what was inspected.
    for one in found.sets:
        sets = recipe.teacher(one.name).sets
        for split in ("train", "validation", "test"):
            written, inspected = getattr(sets, split), getattr(one.splits, split)
            assert written.describe() == inspected.describe()
            assert written.label_spaces == inspected.label_spaces


def test_splits_that_differ_in_more_than_a_word_are_written_out(data, tmp_path):
    of.coco(data / "fruit", images="photos", file="annotations/instances_train.json")
    of.coco(data / "fruit", images="later", file="annotations/instances_val.json", start=20)
    recipe = made(inspect(data), tmp_path)
    assert 'head="fruit"' in (tmp_path / "written.py").read_text()
    assert recipe.teachers[0].sets.test.name == "fruit_test"


def test_several_detectors_share_their_widths(data, tmp_path):
    of.coco(data / "fruit")
    of.voc(data / "cards")
    recipe = made(inspect([data, f"{data}:use=teacher"]), tmp_path)
    assert (tmp_path / "written.py").read_text().count("rpn_channels") == 1
    assert [teacher.task.rpn_channels for teacher in recipe.teachers] == [64, 64]


def test_metric_depth_is_not_scaled_in_a_transfer_either(data, tmp_path):
    of.depths(data / "far/rgb", data / "far/depth")
    of.depths(data / "near/rgb", data / "near/depth")
    recipe = made(inspect([data, f"{data}:unit=millimeters"]), tmp_path)
    (transfer,) = recipe.transfers
    assert transfer.training.augmentation.scale == (1.0, 1.0)


def test_names_of_folders_are_text_and_no_code(data, tmp_path):
    of.classes(data / 'it\'s {data} "now"')
    for split in ("train", "val", "test"):
        of.classes(data / "{split}" / f"{split}{{0}}")
    recipe = made(inspect([data, f"{data}:use=teacher"]), tmp_path)
    counts = {teacher.name: len(teacher.sets.train) for teacher in recipe.teachers}
    assert counts == {"it_s_data_now": 12, "split": 18}


def test_init_prints_the_table_and_the_command(data, tmp_path, capsys, monkeypatch):
    of.classes(data)
    monkeypatch.chdir(tmp_path)
    init(["data"], "trees.py")
    printed = capsys.readouterr()
    assert "3 classes (elm, fir, oak)" in printed.out
    assert "must-keras run trees.py" in printed.out and not printed.err
    text = pathlib.Path("trees.py").read_text()
    assert str(data) in text and "no split given" in text


def test_init_states_open_questions_once(data, tmp_path, capsys):
    of.depths(data / "far/rgb", data / "far/depth")
    of.depths(data / "near/rgb", data / "near/depth")
    with pytest.raises(UserError, match="the 2 questions above are open, and nothing was written"):
        init([data], tmp_path / "asked.py")
    assert capsys.readouterr().out.count("near/depth:unit=millimeters") == 1
    assert not (tmp_path / "asked.py").exists()


# ---- tags, archives and Parquet ----------------------------------------------------------------


def test_tags_have_the_values_of_their_table(data, tmp_path):
    header = "image,beach,people,place,usage"
    of.tag_table(data / "scene", f"{header} 1,0,x,train ,1,y,train 0,1,z,val 1,1,x,test")
    found = inspect(data)
    (one,) = found.sets
    assert one.counts == (2, 1, 1) and one.labels == "2 tags (beach, people)"
    assert "its columns place are not read" in str(found)
    sets = made(found, tmp_path).teachers[0].sets
    assert [sets.train.labels(i)["scene"]["tags"].tolist() for i in (0, 1)] == [[1, 0], [-1, 1]]
    assert sets.test.image_id(0) == "003.jpg"
    assert "threshold=0.8" in (tmp_path / "written.py").read_text()


def test_a_table_can_be_left_out(data):
    path = of.tag_table(data / "birds", "image,is_train,is_clear 1,0 0,1 1,1")
    assert inspect(data).sets[0].labels == "2 tags (is_train, is_clear)"
    found = inspect([data, f"{path}:kind=skip"])
    assert not found.sets and [len(pool.source) for pool in found.pools] == [3]


def test_a_table_of_exactly_one_tag_is_remarked(data):
    of.tag_table(data / "scene", "image,beach,people 1,0 0,1 0,1")
    (one,) = inspect(data).sets
    assert "exactly one of its tags" in one.found.remarks[0]


def test_words_of_one_name_each_are_classes_and_no_tags(data):
    of.table(data / "leaves", header="image,labels,place")
    found = inspect(data)
    assert not found.sets and "none of which is called" in found.unused[data / "leaves/labels.csv"]
    stated = inspect([data, f"{data}/leaves/labels.csv:class=labels"])
    assert [one.found.form for one in stated.sets] == ["CSV of classes"]
    # A list in a column of any name is tags, once it is named.
    path = of.tag_table(data / "chest", "image,Finding edema|mass edema mass|edema")
    (tags,) = inspect([data / "chest", f"{path}:class=Finding"]).sets
    assert tags.labels == "2 tags (edema, mass)"


def test_archives_are_pools(data, tmp_path):
    of.classes(data / "trees")
    of.shards(data / "web")
    found = inspect(data)
    (pool,) = found.pools
    assert (pool.name, pool.found.form, len(pool.source)) == ("web", "tar archives", 6)
    assert "web: what its archives have beside images (.cls) is not read" in str(found)
    (source,) = [one.source for one in made(found, tmp_path).pools]
    assert source.image_id(5) == "web-1/002.png"


def test_archives_of_splits(data, tmp_path):
    of.classes(data / "trees")
    of.shards(data / "web", [f"web-{s}-{i}.tar" for s in ("train", "val") for i in (0, 1)])
    found = inspect(data)
    assert [len(pool.source) for pool in found.pools] == [6]
    assert "of a split for tests" in found.unused[data / "web/web-val-0.tar"]
    made(found, tmp_path)
    assert 'web-train-*.tar"' in (tmp_path / "written.py").read_text()
    asked = inspect([data, f"{data}/web:kind=images"])
    assert [len(pool.source) for pool in asked.pools] == [6, 6]


def test_archives_that_cannot_be_used(data):
    of.classes(data / "trees")
    of.shards(data / "trees", ["trees.tar"], labels=False)
    of.shards(data / "web", ["web-0.tar"])
    path = data / "web/web-0.tar"
    path.write_bytes(path.read_bytes()[:3000])
    (data / "packed").mkdir()
    (data / "packed/a.tar.gz").write_bytes(b"")
    found = inspect(data)
    assert "beside images" in found.unused[data / "trees/trees.tar"] and not found.pools
    assert "decompress it" in found.unused[data / "packed/a.tar.gz"]
    (question,) = found.questions
    assert "unexpected end of data" in question.text and question.values == ("skip",)
    assert not inspect([data, question.answers[0]]).questions


def test_splits_of_parquet_are_given(data, tmp_path):
    names = [f"{s}-0000{i}-of-00002.parquet" for s in ("train", "test") for i in (0, 1)]
    of.parquets(data / "beans/data", [*names, "validation-00000-of-00001.parquet"])
    found = inspect(data)
    assert found.sets[0].counts == (20, 10, 20) and not found.sets[0].split.is_carved
    made(found, tmp_path)
    text = (tmp_path / "written.py").read_text()
    assert 'label="label"' in text and "train-*.parquet" in text


def test_questions_about_parquet(data):
    def question():
        (one,) = inspect(data).questions
        return one

    of.parquets(data, ["a.parquet"], classes=(), label=[0, 1])
    assert "numbers without names" in question().text and question().values == ("images",)
    assert len(inspect(f"{data}:kind=images").pools[0].source) == 10
    of.parquets(data, ["a.parquet"], classes=(), species=["elm", "oak"], kind=["a", "b"])
    assert question().answers == (f"{data}:class=species", f"{data}:class=kind")
    assert inspect(question().answers[0]).sets[0].labels == "2 classes (elm, oak)"
    with pytest.raises(UserError, match="no such column"):
        inspect(f"{data}:class=spices")
    of.parquets(data, ["a.parquet"], other=[b"x", b"y"], image="photo")
    assert "which of its columns photo, other is the image?" in question().text
    (data / "a.parquet").write_bytes(b"PAR1")
    assert "cannot be read as Parquet" in question().text


def test_parquet_without_labels_is_a_pool(data):
    of.parquets(data / "web", ["train-0.parquet", "test-0.parquet"], classes=(), caption=["a", "b"])
    found = inspect(data)
    assert [len(pool.source) for pool in found.pools] == [10]
    assert "of a split for tests" in found.unused[data / "web/test-0.parquet"]
    (data / "tables").mkdir()
    parquet.write_table(pa.table({"a": [1]}), data / "tables/a.parquet")
    assert "no column of encoded images" in inspect(data).unused[data / "tables/a.parquet"]
