"""Labels that were made elsewhere, as a teacher: from files into a dataset, a student, a report."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import pages
from fakes.random_examples import THINGS
from making import check, make
from must_keras import stages
from must_keras.config.imported_labels import ImportedLabels
from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.data.examples import LabeledExamples, PseudoLabels
from must_keras.data.sources import CocoJson, DepthMaps, ImagesOnly, LabelMaps
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import checks
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.pseudo_labels.tfds_builder import PseudoLabeled
from must_keras.runs import pools, preflight
from must_keras.runs.run import Run
from must_keras.stages import label
from must_keras.stages.status import status
from must_keras.tasks import Depth, Segmentation
from must_keras.tasks.thresholds import AtPrecision
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

COUNT, KNOWN, PER_SHARD = 12, 9, 5
HEIGHT, WIDTH = 40, 60
FRUIT = dataclasses.replace(THINGS, name="fruit", classes=("apple", "pear"))
PARTS = Segmentation(name="parts", classes=("x", "y"), channels=8, num_convs=1)
BY = "a detector of somebody's, 3 May"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    writer = label.PseudoLabelWriter
    monkeypatch.setattr(
        label, "PseudoLabelWriter", lambda *a, **k: writer(*a, **k, records_per_shard=PER_SHARD)
    )


@pytest.fixture
def home(tmp_path):
    """12 photos. The labels name 9: photo i has a pear of its own size, photo 3 has nothing."""
    random = np.random.default_rng(0)
    for i in range(COUNT):
        path = tmp_path / "photos" / "deep" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    info = {
        "images": [
            {"id": 100 - i, "file_name": f"deep/{i:02}.png", "height": HEIGHT, "width": WIDTH}
            for i in range(KNOWN)
        ],
        "categories": [{"id": 4, "name": "apple"}, {"id": 9, "name": "pear"}],
    }
    found = [
        {"image_id": 100 - i, "category_id": 9, "bbox": [6, 10, 3 * (i + 1), 20],
         "score": (i + 1) / 10}
        for i in range(KNOWN) if i != 3
    ]  # fmt: skip
    (tmp_path / "info.json").write_text(json.dumps(info))
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


def photos(home, name="photos"):
    return ImagesOnly(name=name, root=home / "photos")


def fruit(home, **changes) -> ImportedLabels:
    source = CocoJson(
        name="elsewhere", images=home / "photos", annotations=home / "info.json",
        results=home / "found.json", head="fruit",
    )  # fmt: skip
    values = {
        "name": "detector", "task": FRUIT, "labels": source, "origin": BY, "loss_weight": 1.0,
        "threshold": 0.5,
    }  # fmt: skip
    return ImportedLabels(**(values | changes))


def recipe_of(home, *teachers, **changes) -> Recipe:
    training = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
    values = {
        "name": "labels",
        "seed": 0,
        "network": Network(backbone=ResNet.small(), size=64, channels=16),
        "teachers": teachers or (fruit(home),),
        "pools": (Pool(source=photos(home)),),
        "student": Student(training=training),
        "transfers": (),
        "starts": ("random",),
        "evaluation_batch": 2,
    }
    return Recipe(**(values | changes))


def labeled(recipe, path) -> Run:
    run = Run(recipe=recipe, path=path)
    make("teacher", run)
    make("label", run)
    return run


def reader_of(home):
    run = labeled(recipe_of(home), home / "run")
    task = run.recipe.teacher("detector").task
    return PseudoLabelReader(
        run.labels("detector", "photos").folder, run.recipe.pools[0].source, task
    )


def made(folder) -> dict[str, bytes]:
    told = ("progress.json", "finished.json")
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name not in told]
    return {path.name: path.read_bytes() for path in files}


# ---- the dataset --------------------------------------------------------------------------------


def test_boxes_are_those_of_the_file(home):
    reader = reader_of(home)
    record = reader.read(7)
    np.testing.assert_allclose(record["boxes"], [[10 / 40, 6 / 60, 30 / 40, 30 / 60]])
    assert record["scores"].tolist() == [np.float32(0.8)] and record["classes"].tolist() == [1]
    # Somebody looked at photo 3 and found nothing; nobody looked at the last three.
    assert not reader.is_empty(3) and len(reader.read(3)["boxes"]) == 0
    assert [reader.is_empty(i) for i in range(COUNT)] == [False] * KNOWN + [True] * 3


def test_the_student_gets_boxes_at_the_threshold_and_no_label_where_there_is_none(home):
    reader = reader_of(home)
    pseudo = {"fruit": PseudoLabels(reader=reader, threshold=0.5)}
    examples = LabeledExamples(photos(home), [FRUIT], pseudo)
    counts = [len(examples.labels(i)["fruit"]["boxes"]) for i in range(COUNT)]
    assert counts == [0] * 4 + [1] * 5 + [0] * 3
    labeled = [float(examples.labels(i)["fruit"]["labelled"]) for i in range(COUNT)]
    assert labeled == [1.0] * KNOWN + [0.0] * 3
    assert examples.origins(COUNT - 1) == {"fruit": "missing"}


def test_the_ledger_says_who_made_them(home):
    reader = reader_of(home)
    origin = reader.ledger["origin"]
    assert origin["made_by"] == BY and origin["scores"] is True
    assert len(origin["labels"]["results"]) == 64 and len(origin["labels"]["annotations"]) == 64
    assert reader.ledger["empty"] == 3 and reader.ledger["kind"] == "boxes"
    builder = PseudoLabeled(
        source=photos(home), tasks=[], columns={"detector": reader}, data_dir=str(home / "tfds")
    )
    builder.download_and_prepare()
    read = tfds.builder_from_directory(builder.data_dir)
    assert read.info.metadata["columns"]["detector"]["origin"]["made_by"] == BY


def test_images_without_a_label_are_told(home):
    reader_of(home)
    folder = home / "run" / "labels" / "detector" / "photos"
    lines = [json.loads(x) for x in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [9, 10, 11]
    assert lines[0]["reason"] == "the labels 'elsewhere' do not name it"
    assert lines[0]["id"] == "deep/09.png"


def test_a_corrected_sentence_makes_nothing_again(home):
    reader_of(home)
    folder = home / "run" / "labels" / "detector" / "photos"
    before = made(folder)
    corrected = recipe_of(home, fruit(home, origin="a detector of mine"))
    check(Run(recipe=corrected, path=home / "run"))
    finished = (folder / "finished.json").stat().st_mtime_ns
    labeled(corrected, home / "run")
    assert (folder / "finished.json").stat().st_mtime_ns == finished
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["origin"]["made_by"] == "a detector of mine"
    assert json.loads(before["ledger.json"]) | {"origin": ledger["origin"]} == ledger
    after = made(folder)
    assert {k: v for k, v in after.items() if k != "ledger.json"} == {
        k: v for k, v in before.items() if k != "ledger.json"
    }


def test_other_labels_are_another_dataset(home):
    reader_of(home)
    found = json.loads((home / "found.json").read_text())
    (home / "found.json").write_text(json.dumps(found[:-1]))
    with pytest.raises(
        UserError, match=r"teachers/detector was made before the results file of 'elsewhere'"
    ):
        check(Run(recipe=recipe_of(home), path=home / "run"))


def test_what_is_killed_goes_on_to_the_same_bytes(home, monkeypatch):
    reader_of(home)
    whole = made(home / "run" / "labels" / "detector" / "photos")
    assert sum("tfrecord" in name for name in whole) == 3
    record, seen = ImportedLabels.record, []

    def killed(self, image_id):
        seen.append(image_id)
        if len(seen) > 7:
            raise KeyboardInterrupt
        return record(self, image_id)

    run = Run(recipe=recipe_of(home), path=home / "again")
    make("teacher", run)
    with monkeypatch.context() as patch:
        patch.setattr(ImportedLabels, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            make("label", run)
    folder = run.labels("detector", "photos").folder
    assert sum("tfrecord" in path.name for path in folder.iterdir()) == 1
    make("label", run)
    assert made(folder) == whole


# ---- the other stages ---------------------------------------------------------------------------


def test_verify_diff_plan_and_status(home, capsys):
    run = Run(recipe=recipe_of(home), path=home / "run")
    preflight.check_data(run)
    make("teacher", run)
    assert BY in capsys.readouterr().out
    checks.print_plan(run)
    said = capsys.readouterr().out
    assert "photos: labels of about 9 of 12 images come from detector" in said
    assert "bytes a label" in said and "in all about 0.0 minutes" in said
    make("label", run)
    assert "labels of detector for photos: 9 of 12 images" in capsys.readouterr().out
    counts = run.labels("detector", "photos").result().class_counts
    assert counts == {"apple": 0.0, "pear": 5.0}
    checks.verify(run)
    assert "12 records, as they were written" in capsys.readouterr().out
    checks.compare(run, run.labels("detector", "photos").folder)
    said = capsys.readouterr().out
    assert "precision50: 1.0000" in said and "recall50: 1.0000" in said
    status(run, stages.load())
    said = capsys.readouterr().out
    assert "detector for photos" in said and 'next: stage="student"' in said
    shard = sorted(run.labels("detector", "photos").folder.glob("labels-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-5] + b"wrong")
    with pytest.raises(DataError, match="1 pseudo-label datasets are broken"):
        checks.verify(run)
    make("label", run)
    checks.verify(run)


@pytest.mark.slow
def test_a_student_learns_from_them_and_the_report_says_whose_they_are(home):
    whole = fruit(home).labels
    sets = Splits(train=whole, validation=whole, test=whole)
    recipe = recipe_of(home, fruit(home, sets=sets))
    run = labeled(recipe, home / "run")
    result = run.teacher("detector").result()
    assert result.metrics == {} and result.trivial["box_ap50"] == 0.0
    make("student", run)
    result = run.student.result()
    assert result.tasks["fruit"].metrics["box_ap50"] is not None
    origins = result.origins["photos"]["fruit"]
    assert origins.pseudo > 0 and origins.missing > 0 and origins.true == 0
    make("report", run)
    values = json.loads((run.path / "report.json").read_text())
    assert values["labels"]["detector"]["photos"]["origin"] == BY
    page = pages.parse((run.path / "report.html").read_text())
    assert f"imported labels: {BY}" in pages.text(pages.row(page, "detector")[0])
    lines = [line[1:4] for line in pages.rows(page) if line[1:2] == ["box_ap50"]]
    assert lines == [["box_ap50", "0.000", "–"]], "a trivial baseline, and no teacher to score"


def test_has_scores_tells_hard_labels_from_others(home):
    assert fruit(home).has_scores
    found = [e | {"score": 1.0} for e in json.loads((home / "found.json").read_text())]
    (home / "found.json").write_text(json.dumps(found))
    assert not fruit(home).has_scores


def test_a_threshold_cannot_be_chosen_for_labels_that_exist(home):
    sets = recipe_of(home).pools[0].source
    whole = Splits(train=sets, validation=sets, test=sets)
    with pytest.raises(UserError, match="'detector': AtPrecision needs a model that predicts"):
        fruit(home, threshold=AtPrecision(0.8), sets=whole)
    found = [e | {"score": 1.0} for e in json.loads((home / "found.json").read_text())]
    (home / "found.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match="'detector' has no scores: a threshold cannot be chosen"):
        fruit(home, threshold=AtPrecision(0.8), sets=whole)


def test_maps_and_depth_come_in_too(home):
    random = np.random.default_rng(1)
    truth = {}
    for i in (2, 5):
        name = f"deep/{i:02}.png"
        truth[i] = random.choice([0, 1, 255], (HEIGHT, WIDTH)).astype(np.uint8)
        meters = random.uniform(0.5, 4.0, (HEIGHT, WIDTH))
        for folder, pixels in (("maps", truth[i]), ("depths", (1000 * meters).astype(np.uint16))):
            (home / folder / "deep").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(home / folder / name)
    maps = LabelMaps(
        name="maps", images=home / "photos", maps=home / "maps", head="parts", classes=("x", "y")
    )
    depths = DepthMaps(name="depths", images=home / "photos", depths=home / "depths", head="far")
    far = Depth(name="far", kind="relative_inverse", channels=8, num_convs=1)
    recipe = recipe_of(
        home,
        ImportedLabels(name="m", task=PARTS, labels=maps, origin="x", loss_weight=1.0),
        ImportedLabels(name="d", task=far, labels=depths, origin="y", loss_weight=1.0),
    )
    run = labeled(recipe, home / "run")
    pool = recipe.pools[0].source
    reader = PseudoLabelReader(run.labels("m", "photos").folder, pool, PARTS)
    for i, pixels in truth.items():
        np.testing.assert_array_equal(PARTS.records.to_label(reader.read(i), None)["map"], pixels)
    assert reader.ledger["origin"]["scores"] is False and reader.ledger["empty"] == 10
    # Meters serve a relative head as 1 / meters.
    reader = PseudoLabelReader(run.labels("d", "photos").folder, pool, far)
    expected = depths.labels(2)["far"]["depth"]
    found = far.records.to_label(reader.read(2), None)["depth"]
    np.testing.assert_allclose(found, 1.0 / expected, atol=2.0 / 65535)
    assert reader.ledger["kind"] == "relative_inverse"


def test_labels_that_cannot_be_read_are_no_label(home, capsys):
    (home / "photos" / "deep" / "04.png").write_bytes(b"no picture")
    reader = reader_of(home)
    assert "skipped: " in capsys.readouterr().err
    assert reader.is_empty(4) and not reader.is_empty(5)
    folder = home / "run" / "labels" / "detector" / "photos"
    assert "04.png" in (folder / "quarantine.jsonl").read_text().splitlines()[0]


def test_an_image_that_comes_later_leaves_the_labels_of_the_others(home):
    """A pool that grows; its folder is that of the maps' images, too."""
    (home / "maps" / "deep").mkdir(parents=True)
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(home / "maps" / "deep" / "02.png")

    def recipe():
        maps = LabelMaps(
            name="m", images=home / "photos", maps=home / "maps", head="parts", classes=("x", "y")
        )
        item = ImportedLabels(name="maps", task=PARTS, labels=maps, origin="x", loss_weight=1.0)
        return recipe_of(home, fruit(home), item)

    def frozen() -> Run:
        return pools.frozen(Run(recipe=recipe(), path=home / "run"), new=True)

    first = frozen()
    pools.keep(first)
    labeled(first.recipe, home / "run")
    Image.new("RGB", (WIDTH, HEIGHT)).save(home / "photos" / "deep" / "99.png")
    grown = frozen()
    assert [pool.source.name for pool in grown.recipe.pools] == ["photos", "photos_block2"]
    check(grown)
    # The file of boxes does not name the new image; the maps' folder of images has it, unlabeled.
    labels_of = grown.recipe.sources_labeled_by
    covered = [[source.name for source in labels_of(t)] for t in grown.recipe.teachers]
    assert covered == [["photos"], ["photos", "photos_block2"]]
    make("label", grown, only=("detector",))


# ---- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_told(home):
    with pytest.raises(UserError, match="'detector': origin is empty: say who made"):
        fruit(home, origin=" ")
    with pytest.raises(UserError, match="'photos' labels no head, not 'fruit'"):
        fruit(home, labels=photos(home))
    with pytest.raises(UserError, match="'detector': labels is a str, expected a Source"):
        fruit(home, labels="found.json")
    with pytest.raises(UserError, match="'elsewhere' labels fruit, not 'veg'"):
        fruit(home, task=dataclasses.replace(FRUIT, name="veg"))
    with pytest.raises(UserError, match="does not fit head 'fruit' .*not in both: fig, pear"):
        fruit(home, task=dataclasses.replace(FRUIT, classes=("apple", "fig")))
    with pytest.raises(UserError, match="threshold 0.01 of class"):
        fruit(home, threshold=0.01)
    with pytest.raises(TypeError, match="loss_weight"):
        ImportedLabels(name="n", task=FRUIT, labels=photos(home), origin="x")


def test_labels_of_no_pool(home):
    other = ImagesOnly(name="other", root=home / "photos" / "deep")
    message = r"not one image of the labels .* name 'deep/00.png', the pool '00.png'"
    with pytest.raises(UserError, match=message):
        recipe_of(home, pools=(Pool(source=other),))
    # A pool beside it is not covered.
    recipe = recipe_of(home, pools=(Pool(source=other), Pool(source=photos(home))))
    assert [s.name for s in recipe.sources_labeled_by(recipe.teachers[0])] == ["photos"]


def test_two_pools_with_the_same_names(home):
    both = (Pool(source=photos(home)), Pool(source=photos(home, "twins")))
    with pytest.raises(UserError, match="'deep/00.png' is an image of the pools 'photos' and 'twi"):
        recipe_of(home, pools=both)
    recipe = recipe_of(home, fruit(home, pool="twins"), pools=both)
    assert [s.name for s in recipe.sources_labeled_by(recipe.teachers[0])] == ["twins"]
    with pytest.raises(UserError, match="pool='twin'; did you mean 'twins'"):
        recipe_of(home, fruit(home, pool="twin"), pools=both)


def test_a_teachers_own_images_are_not_taken_for_a_pools(home):
    """Ids are names of files, and 00.jpg is in every folder."""
    covers = fruit(home).labels_source
    assert covers(photos(home), is_pool=True) and not covers(photos(home), is_pool=False)


def test_most_labels_unreadable_shows_at_the_first_look(home):
    for i in range(6):
        Image.new("RGB", (30, 30)).save(home / "photos" / "deep" / f"{i:02}.png")
    with pytest.raises(UserError, match=r"00.png is 30x30 pixels upright, .*60x40"):
        preflight.check_data(Run(recipe=recipe_of(home), path=home / "run"))
