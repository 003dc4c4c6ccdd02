"""Images of a pool that are also in a downstream test split: found, told, and left out."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import pages
from fakes import tiny_run
from fakes.label_recipe import light
from fakes.photos import jpeg, picture, resized
from fakes.public_datasets import save
from fakes.results import finish
from making import check, make, results
from must_keras import stages
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import FolderPerClass, ImagesOnly, ListedFiles
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import duplicates, leakage, training_set
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.report.sections.labels import left_out_images
from must_keras.runs import pools
from must_keras.runs.run import Run
from must_keras.self_supervised import SimCLR
from must_keras.stages import export, label, report, selfsup, student, supervised
from must_keras.stages import transfer as transfer_stage
from must_keras.stages.check import check as check_origins
from must_keras.stages.status import status
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

# Pictures of the pool that the test splits of "trees" and of "houses" hold too.
IN_TREES, IN_HOUSES, COUNT = (2, 5), (8,), 12
TRAINING = TrainingConfig(steps=20, batch=4, learning_rate=1e-3, optimizer=AdamW())


@pytest.fixture
def data(tmp_path):
    """A pool of pictures, and two sets of which the test splits have copies of some."""
    for i in range(COUNT):
        save(tmp_path / "pile" / f"{i:02}.png", picture(i))
    save(tmp_path / "trees" / "test" / "oak" / "a.png", jpeg(picture(2)))
    save(tmp_path / "trees" / "test" / "elm" / "b.png", resized(picture(5), 1.5)[:, ::-1])
    save(tmp_path / "houses" / "test" / "low" / "c.png", resized(picture(8), 0.5))
    for i, kind in enumerate(("trees/test/oak", "trees/test/elm", "houses/test/low")):
        save(tmp_path / kind / "other.png", picture(100 + i))
    for i, kind in enumerate(("trees/train/oak", "trees/train/elm", "houses/train/low")):
        # Copies in a training split are no leak.
        save(tmp_path / kind / "x.png", picture(i))
    save(tmp_path / "houses" / "train" / "high" / "y.png", picture(200))
    save(tmp_path / "houses" / "test" / "high" / "z.png", picture(201))
    return tmp_path


def transfer(data, name) -> Transfer:
    train, test = (
        FolderPerClass(name=f"{name}_{part}", root=data / name / part, head=name)
        for part in ("train", "test")
    )
    task = Classification(name=name, classes=train.label_spaces[name].classes)
    sets = Splits(train=train, validation=train, test=test)
    return Transfer(name=name, task=task, sets=sets, training=TRAINING)


def recipe_of(data, *names, **changes) -> Recipe:
    model = ExternalModel(model=light, version="1", size=16, form="probabilities")
    task = Classification(name="kind", classes=("dark", "light"))
    values = {
        "name": "leaks",
        "seed": 0,
        "network": Network(backbone=ResNet.small(), size=64, channels=16),
        "teachers": (ExternalTeacher(name="light", task=task, model=model, loss_weight=1.0),),
        "pools": (Pool(source=ImagesOnly(name="pile", root=data / "pile")),),
        "student": Student(training=TRAINING),
        "transfers": tuple(transfer(data, name) for name in names),
        "starts": ("random",),
        "evaluation_batch": 4,
    }
    return Recipe(**(values | changes))


def run_of(data, *names) -> Run:
    return Run(recipe=recipe_of(data, *names), path=data / "run")


def labeled(run) -> Run:
    make("teacher", run)
    make("label", run)
    return run


def compared(run) -> Run:
    """Return a run after the search for leakage."""
    make("leakage", run)
    return run


def left_out(run) -> dict[str, dict[int, str]]:
    return leakage.left_out(run, leakage.sources(run.recipe))


def entries(run) -> list[dict]:
    path = run.path / "leaks" / "pile" / "duplicates.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_in_a_test_split_is_listed(data, capsys):
    run = labeled(run_of(data, "trees", "houses"))
    found = entries(run)
    assert [(e["index"], e["id"], e["set"], e["test_id"], e["mirrored"]) for e in found] == [
        (2, "02.png", "trees", "oak/a.png", False),
        (5, "05.png", "trees", "elm/b.png", True),
        (8, "08.png", "houses", "low/c.png", False),
    ]
    assert all(0 <= e["distance"] <= 10 and 0.95 < e["correlation"] <= 1.0 for e in found)
    said = capsys.readouterr().out
    assert (
        "pile: 3 of 12 images are also in test splits (trees: 2, houses: 1): left out, see "
        f"{run.path}/leaks/pile/duplicates.jsonl\n"
    ) in said
    assert said.index("pile: 3 of 12") < said.index("labels of light for pile")


def test_the_student_never_sees_it_and_labels_stay_with_their_images(data):
    run = labeled(run_of(data, "trees", "houses"))
    recipe, source = run.recipe, run.recipe.pools[0].source
    reader = PseudoLabelReader(run.labels("light", "pile").folder, source, recipe.teachers[0].task)
    assert len(reader) == COUNT and not any(reader.is_empty(i) for i in range(COUNT))
    examples = training_set.of_student(run)
    kept = [i for i in range(COUNT) if i not in (*IN_TREES, *IN_HOUSES)]
    assert [examples.image_id(i) for i in range(len(examples))] == [
        f"pile/{i:02}.png" for i in kept
    ]
    seen = set()
    for number, place in enumerate(kept):
        image, labels = examples.load(number)
        np.testing.assert_array_equal(image, picture(place))
        expected = light(resized(picture(place), 1.0)[None])
        assert abs(labels["kind"]["probabilities"] - expected).max() < 0.3
        record = reader.read(place)
        own = dict(zip(record["classes"], record["probabilities"], strict=True))
        for index, probability in enumerate(labels["kind"]["probabilities"]):
            assert probability == pytest.approx(own[index], abs=1e-5)
        seen.add(round(float(labels["kind"]["probabilities"][0]), 4))
    assert len(seen) == len(kept), "labels that cannot be told apart prove nothing"
    feed = InputPipeline(examples, recipe.tasks, TRAINING, size=64, seed=3)
    sampled = {image_id for step in range(TRAINING.steps) for image_id in feed.ids_of(step)}
    assert sampled == {f"pile/{i:02}.png" for i in kept}


def test_check_counts_what_the_student_samples(data, capsys):
    run = labeled(run_of(data, "trees", "houses"))
    counts = check_origins(run)
    assert counts == {"pile": {"kind": {"true": 0, "pseudo": 1000, "missing": 0}}}


def test_nothing_is_compared_again_while_nothing_changes(data, monkeypatch, capsys):
    run = labeled(run_of(data, "trees"))
    before = (run.leakage("pile").folder / "finished.json").stat().st_mtime_ns
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("pile: 2 of 12")]
    monkeypatch.setattr(duplicates, "read", None)
    make("label", run)
    check(run)
    assert (run.leakage("pile").folder / "finished.json").stat().st_mtime_ns == before
    assert line in capsys.readouterr().out
    # Another run reuses it, as it reuses labels.
    other = labeled(dataclasses.replace(run, path=data / "other", others=(run.path,)))
    assert [e["index"] for e in entries(other)] == [*IN_TREES]


def test_a_transfer_that_is_added_is_compared_and_a_complete_student_must_be_made_again(
    data, capsys
):
    one, two = labeled(run_of(data, "trees")), run_of(data, "trees", "houses")
    trained = student.artifact(one)
    trained.begin()
    finish(trained)
    check(one)
    # Outdated, but nobody has to delete it.
    check(two)
    capsys.readouterr()
    status(two, stages.load())
    lines = capsys.readouterr().out.splitlines()
    assert ["leakage", "pile", "outdated,"] in [line.split()[:3] for line in lines]
    assert not [line for line in lines if line.startswith('stage="all" stops')]
    with pytest.raises(UserError, match='pile has not been compared .*stage="label"'):
        training_set.of_student(two)
    make("label", two)
    assert [e["index"] for e in entries(two)] == [*IN_TREES, *IN_HOUSES]
    with pytest.raises(UserError, match=r"with 1 image of pile \(08.png\).* delete .*run/student"):
        check(two)


def finish_all(run, pending) -> None:
    """Stands for the work of a stage."""
    for artifact in pending:
        artifact.begin()
        finish(artifact)


def test_the_run_stops_before_a_student_that_saw_a_test_image_is_used(data, monkeypatch):
    after: list[str] = []
    for module in (student, transfer_stage, export, report):
        stage = module.STAGE
        monkeypatch.setattr(stage, "make", finish_all if module is student else lambda *_: None)
        monkeypatch.setattr(stage, "conclude", lambda *_, name=stage.name: after.append(name))

    def everything(*names):
        tiny_run.make("all", recipe_of(data, *names), data / "run")

    everything("trees")
    assert after == ["student", "transfer", "export", "report"]
    everything("trees")
    assert len(after) == 8
    with pytest.raises(UserError, match=r"\(08.png\) .*reuse=.* delete .*run/student"):
        everything("trees", "houses")
    folder = data / "run" / "student"
    assert len(after) == 8 and (folder / "finished.json").is_file()
    shutil.rmtree(folder)
    everything("trees", "houses")
    assert len(after) == 12


def test_a_pool_that_changed_is_compared_again(data):
    compared(run_of(data, "trees"))
    save(data / "pile" / "00.png", picture(100))
    run = compared(run_of(data, "trees"))
    assert [e["index"] for e in entries(run)] == [0, *IN_TREES]
    shutil.rmtree(data / "pile")
    save(data / "pile" / "new.png", picture(50))
    run = compared(run_of(data, "trees"))
    assert entries(run) == []
    assert not (run.leakage("pile").folder / leakage.PICTURE).exists()


def test_only_the_new_block_of_a_pool_that_grew_is_compared(data, monkeypatch):
    def frozen() -> Run:
        run = pools.frozen(run_of(data, "trees"), new=True)
        pools.keep(run)
        return run

    compared(frozen())
    save(data / "pile" / "000.png", picture(60))
    save(data / "pile" / "copy.jpg", picture(100))
    read, names = duplicates.read, []
    monkeypatch.setattr(
        duplicates, "read", lambda source: names.append(source.name) or read(source)
    )
    run = compared(frozen())
    assert names == ["trees_test", "pile_block2"]
    assert left_out(run) == {
        "pile": {i: f"{i:02}.png" for i in IN_TREES}, "pile_block2": {1: "copy.jpg"}
    }  # fmt: skip


def test_the_students_inputs_name_what_it_did_not_see(data):
    with_leaks, without = labeled(run_of(data, "trees")), run_of(data)
    assert student.artifact(with_leaks).inputs["left_out"] == {"pile": ["02.png", "05.png"]}
    assert "left_out" not in student.artifact(without).inputs
    assert len(training_set.of_student(without)) == COUNT
    for i in IN_TREES:
        (data / "pile" / f"{i:02}.png").unlink()
    assert left_out(compared(run_of(data, "trees"))) == {}


def test_without_transfers_there_is_nothing_to_compare(data):
    run = labeled(run_of(data))
    assert not (run.path / "leaks").exists()


def test_unreadable_images_are_skipped_and_counted(data, capsys):
    (data / "pile" / "02.png").write_bytes(b"no picture")
    run = compared(run_of(data, "trees"))
    assert [e["index"] for e in entries(run)] == [5]
    said = capsys.readouterr().out
    assert "1 of 12 images are also in test splits (trees: 1)" in said
    assert said.endswith("duplicates.jsonl; 1 cannot be read\n")
    assert leakage.results(run)["pile"].unreadable == 1


def test_a_list_that_somebody_changed_is_refused(data):
    run = compared(run_of(data, "trees"))
    path = run.leakage("pile").folder / leakage.LIST
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="names 1 images, not 2: delete .*leaks/pile"):
        left_out(run)
    path.unlink()
    with pytest.raises(DataError, match="duplicates.jsonl is damaged: it is missing"):
        left_out(run)


def test_a_student_without_images_is_an_error(data):
    for i in range(COUNT):
        if i not in IN_TREES:
            (data / "pile" / f"{i:02}.png").unlink()
    run = labeled(run_of(data, "trees"))
    with pytest.raises(UserError, match="the student has no image to learn from"):
        training_set.of_student(run)


def test_the_report_shows_pairs_side_by_side(data):
    run = compared(run_of(data, "trees", "houses"))
    found = results(run)
    assert found.report["leaks"] == {
        "pile": {
            "images": COUNT, "unreadable": 0, "left_out": 3, "by_set": {"trees": 2, "houses": 1}
        }
    }  # fmt: skip
    shown = pages.section(left_out_images, found)
    (sentence,), (image,) = pages.texts(shown, "p"), shown.iter("img")
    assert "leaks/pile/duplicates.jsonl" in sentence and "pile" in image.attrib["alt"]
    with Image.open(run.leakage("pile").folder / leakage.PICTURE) as image:
        grid = np.asarray(image)
    # Pairs of 240 pixels and a gap of 4; the least alike is the JPEG.
    left, right = grid[20:180, :240].astype(float), grid[20:180, 244:].astype(float)
    assert left.shape == right.shape and left.std() > 20 and abs(left - right).mean() < 12
    fewer = results(run_of(data, "trees"))
    assert fewer.report["leaks"] == {}
    shown = pages.section(left_out_images, fewer)
    (sentence,) = pages.texts(shown, "p")
    assert sentence.startswith("pile: not compared") and not list(shown.iter("img"))


@pytest.fixture
def garden(data):
    """The training set of a teacher of "garden"; 1 and 3 are in the test splits of the transfers.

    Its own test split has a copy of 4: that one the student may see.
    """
    leaked = {1: resized(picture(2), 2.0)[:, ::-1], 3: jpeg(picture(8))}
    for i in range(6):
        kind = ("rose", "fern")[i % 2]
        save(data / "garden" / "train" / kind / f"{i}.png", leaked.get(i, picture(300 + i)))
    save(data / "garden" / "test" / "rose" / "4.png", picture(304))
    save(data / "garden" / "test" / "fern" / "o.png", picture(310))
    return data


IN_GARDEN = ["fern/1.png", "fern/3.png"]


def with_garden(data, *names, **changes) -> Recipe:
    """A recipe with a teacher that is trained here, besides the one from elsewhere."""
    downstream = transfer(data, "garden")
    trained = Teacher(name="garden", task=downstream.task, sets=downstream.sets, training=TRAINING)
    base = recipe_of(data, *names)
    return dataclasses.replace(
        base,
        **{"teachers": (*base.teachers, trained), "supervised": TRAINING}
        | {"selfsup": (SimCLR(training=TRAINING),)}
        | changes,
    )


def gardened(data, *names, **changes) -> Run:
    return Run(recipe=with_garden(data, *names, **changes), path=data / "run")


def test_test_images_in_a_teachers_training_set_are_left_out_of_what_the_student_learns_from(
    garden,
):
    """Of its batches, and of those of its baselines, ground truth too."""
    run = compared(gardened(garden, "trees", "houses"))
    recipe, out = run.recipe, left_out(run)
    assert list(out) == ["garden_train", "pile"]
    assert sorted(out["garden_train"].values()) == IN_GARDEN
    kept = {f"garden_train/{x}/{i}.png" for i, x in ((0, "rose"), (2, "rose"), (4, "rose"))}
    kept |= {"garden_train/fern/5.png"}
    union = training_set.examples(run, recipe.student_sources, recipe.tasks, title="it")
    of_garden = {union.image_id(i) for i in range(len(union))} - {
        f"pile/{i:02}.png" for i in range(COUNT)
    }
    assert of_garden == kept
    feed = InputPipeline(union, recipe.tasks, TRAINING, size=64, seed=3)
    sampled = {image_id for step in range(TRAINING.steps) for image_id in feed.ids_of(step)}
    assert {x for x in sampled if x.startswith("garden")} == kept
    labels = [union.load(i)[1] for i in range(len(union)) if union.image_id(i) in kept]
    assert len(labels) == 4 and all(one["garden"]["probabilities"].max() == 1 for one in labels)
    of_baselines = (supervised.artifact(run), selfsup.artifact(run, recipe.selfsup[0]))
    for artifact in of_baselines:
        assert sorted(artifact.inputs["left_out"]["garden_train"]) == IN_GARDEN
    assert "pile" not in of_baselines[0].inputs["left_out"], "it has no ground truth"


def test_the_report_counts_and_states_those_of_teachers(garden, capsys):
    run = compared(gardened(garden, "trees", "houses"))
    said = "garden_train: 2 of 6 images are also in test splits (trees: 1, houses: 1): left out"
    assert said in capsys.readouterr().out
    values = results(run)
    found = values.report["leaks"]
    assert found["garden_train"] == {
        "images": 6, "unreadable": 0, "left_out": 2, "by_set": {"trees": 1, "houses": 1}
    }  # fmt: skip
    assert found["pile"]["left_out"] == 3
    sentences = pages.texts(pages.section(left_out_images, values), "p")
    assert sentences[0].startswith(said) and sentences[1].startswith("pile: 3 of 12")
    assert (run.leakage("garden_train").folder / leakage.PICTURE).is_file()


@pytest.mark.parametrize(
    ("union", "starts", "names"),
    [
        (True, ("random", "student"), ["garden_train", "pile"]),
        (False, ("random", "student"), ["pile"]),
        (False, ("random", "supervised"), ["garden_train", "pile"]),
    ],
)
def test_a_training_set_is_compared_as_far_as_something_learns_from_it(
    garden, union, starts, names
):
    recipe = with_garden(
        garden, "trees", student=Student(training=TRAINING, union=union), starts=starts
    )
    assert [source.name for source in leakage.sources(recipe)] == names
    assert leakage.sources(dataclasses.replace(recipe, transfers=())) == []


def test_a_pool_of_the_name_of_a_training_set_is_refused(garden):
    """leaks/<name> and indices of images belong to one source."""
    pile = ImagesOnly(name="garden_train", root=garden / "pile")
    recipe = with_garden(
        garden,
        "trees",
        student=Student(training=TRAINING, union=False),
        starts=("random", "supervised"),
        pools=(Pool(source=pile),),
    )
    with pytest.raises(UserError, match="two different sources .* 'garden_train'"):
        leakage.sources(recipe)


@pytest.mark.parametrize("union", [True, False])
def test_a_pool_that_is_a_training_set_is_one_source_with_the_list_of_its_files(
    garden, union, tmp_path
):
    pile = with_garden(garden, "trees").teachers[-1].sets.train
    recipe = with_garden(
        garden,
        "trees",
        student=Student(training=TRAINING, union=union),
        starts=("random", "student", "supervised"),
        pools=(Pool(source=pile),),
    )
    run = pools.frozen(Run(recipe=recipe, path=tmp_path / "run"), new=True)
    (listed,) = (pool.source for pool in run.recipe.pools)
    assert isinstance(listed, ListedFiles)
    assert leakage.sources(run.recipe) == run.recipe.student_sources == [listed]
    assert run.recipe.labeled_sources == (listed,)


def test_a_teacher_that_learned_from_test_images_is_no_fair_start(garden, capsys):
    starts = ("random", "teacher-garden")
    run = compared(gardened(garden, "trees", "houses", starts=starts))
    label.STAGE.conclude(run, stages.load())
    warnings = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning: teacher")]
    assert len(warnings) == 2
    assert "'garden' was trained on 1 images" in warnings[0] and "'trees'" in warnings[0]
    assert 'aligned={"teacher-garden": "images"}' in warnings[0]
    shown = pages.texts(pages.section(left_out_images, results(run)), "p")
    sentences = [f"warning: {sentence.removesuffix('.')}" for sentence in shown]
    assert sentences[-2:] == warnings
    marked = tuple(
        dataclasses.replace(t, aligned={"teacher-garden": "images"}) for t in run.recipe.transfers
    )
    recipe = dataclasses.replace(run.recipe, transfers=marked)
    assert leakage.of_teachers(dataclasses.replace(run, recipe=recipe)) == []
    assert leakage.of_teachers(gardened(garden, "trees", "houses")) == []


def test_inputs_are_those_of_before_where_nothing_leaks(garden):
    """So complete students and baselines stay what they are."""
    shutil.rmtree(garden / "houses" / "test" / "low")
    save(garden / "houses" / "test" / "low" / "other.png", picture(400))
    for path in (garden / "pile" / "08.png", garden / "garden" / "train" / "fern" / "3.png"):
        path.unlink()
    run = compared(gardened(garden, "houses"))
    assert left_out(run) == {}
    assert "left_out" not in supervised.artifact(run).inputs
    sources = run.recipe.student_sources
    union = training_set.examples(run, sources, run.recipe.tasks, title="it")
    assert len(union) == sum(len(source) for source in sources)


def test_supervised_alone_compares_its_images_first(garden, monkeypatch):
    found = {}
    monkeypatch.setattr(supervised.STAGE, "make", lambda run, pending: found.update(left_out(run)))
    recipe = with_garden(garden, "trees", "houses", starts=("random", "supervised"))
    tiny_run.make("supervised", recipe, garden / "run")
    assert sorted(found["garden_train"].values()) == IN_GARDEN


def test_a_complete_baseline_that_saw_them_must_be_made_again(garden):
    """It is of a version before: its training set was not looked through."""
    compared(run_of(garden, "trees", "houses"))
    asked = gardened(garden, "trees", "houses", starts=("random", "supervised"))
    made = supervised.artifact(gardened(garden))
    made.begin()
    finish(made)
    check(asked, "supervised")
    compared(asked)
    with pytest.raises(UserError, match=r"made with 2 images of garden_train \(fern/1.png, fern/3"):
        check(asked, "supervised")
