"""Images of a pool that are also in a downstream test split: found, told, and left out."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from blobs import jpeg, picture, resized
from label_recipe import light
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import FolderPerClass, ImagesOnly
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import duplicates, examples, leakage
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.report import page, summary
from must_keras.runs import executor, graph, pools, status
from must_keras.runs.workdir import Workdir
from must_keras.self_supervised import SimCLR
from must_keras.stages import check, label, selfsup, student, supervised, teacher
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from real_layouts import save

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


def run(recipe, workdir) -> Workdir:
    teacher.run(recipe, workdir, ())
    label.run(recipe, workdir, ())
    return workdir


@pytest.fixture
def workdir(data) -> Workdir:
    return Workdir(data / "run")


def entries(workdir) -> list[dict]:
    path = workdir.root / "leaks" / "pile" / "duplicates.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_in_a_test_split_is_listed(data, workdir, capsys):
    run(recipe_of(data, "trees", "houses"), workdir)
    found = entries(workdir)
    assert [(e["index"], e["id"], e["set"], e["test_id"], e["mirrored"]) for e in found] == [
        (2, "02.png", "trees", "oak/a.png", False),
        (5, "05.png", "trees", "elm/b.png", True),
        (8, "08.png", "houses", "low/c.png", False),
    ]
    assert all(0 <= e["distance"] <= 10 and 0.95 < e["correlation"] <= 1.0 for e in found)
    said = capsys.readouterr().out
    assert (
        "pile: 3 of 12 images are also in test splits (trees: 2, houses: 1): left out, see "
        f"{workdir.root}/leaks/pile/duplicates.jsonl\n"
    ) in said
    assert said.index("pile: 3 of 12") < said.index("labels of light for pile")


def test_the_student_never_sees_it_and_labels_stay_with_their_images(data, workdir):
    recipe = recipe_of(data, "trees", "houses")
    run(recipe, workdir)
    source = recipe.pools[0].source
    column = PseudoLabelReader(
        workdir.labels("light", "pile").folder, source, recipe.teachers[0].task
    )
    assert len(column) == COUNT and not any(column.is_empty(i) for i in range(COUNT))
    examples = student.training_set(recipe, workdir)
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
        record = column.read(place)
        own = dict(zip(record["classes"], record["probabilities"], strict=True))
        for index, probability in enumerate(labels["kind"]["probabilities"]):
            assert probability == pytest.approx(own[index], abs=1e-5)
        seen.add(round(float(labels["kind"]["probabilities"][0]), 4))
    assert len(seen) == len(kept), "labels that cannot be told apart prove nothing"
    feed = InputPipeline(examples, recipe.tasks, TRAINING, size=64, seed=3)
    drawn = {image_id for step in range(TRAINING.steps) for image_id in feed.ids_of(step)}
    assert drawn == {f"pile/{i:02}.png" for i in kept}


def test_check_counts_what_the_student_draws(data, workdir, capsys):
    recipe = recipe_of(data, "trees", "houses")
    run(recipe, workdir)
    capsys.readouterr()
    check.run(recipe, workdir)
    counts = json.loads(capsys.readouterr().out)
    assert counts == {"pile": {"kind": {"true": 0, "pseudo": 1000, "missing": 0}}}


def test_nothing_is_compared_again_while_nothing_changes(data, workdir, monkeypatch, capsys):
    recipe = recipe_of(data, "trees")
    run(recipe, workdir)
    before = (workdir.leaks("pile").folder / "finished.json").stat().st_mtime_ns
    said = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(duplicates, "read", None)
    label.run(recipe, workdir, ())
    graph.check(recipe, workdir)
    assert (workdir.leaks("pile").folder / "finished.json").stat().st_mtime_ns == before
    again = capsys.readouterr().out
    (line,) = [x for x in said if x.startswith("pile: ")]
    assert "2 of 12" in line and line in again
    # Another run takes it, as it takes columns.
    other = Workdir(data / "other", (workdir.root,))
    run(recipe, other)
    assert [e["index"] for e in entries(other)] == [*IN_TREES]


def test_a_transfer_that_is_added_is_compared_and_a_finished_student_is_told(data, workdir, capsys):
    one, two = recipe_of(data, "trees"), recipe_of(data, "trees", "houses")
    run(one, workdir)
    workdir.student.begin()
    workdir.student.finish(student.inputs(one, workdir), {})
    graph.check(one, workdir)
    # Outdated, but nobody has to delete it.
    graph.check(two, workdir)
    capsys.readouterr()
    status.run(two, workdir)
    said = capsys.readouterr().out
    assert "duplicates in pile" in said and "outdated, is made again" in said
    assert "next: --stage=label" in said and "--stage=all stops" not in said
    with pytest.raises(UserError, match="pile has not been compared .* run --stage=label first"):
        student.training_set(two, workdir)
    label.run(two, workdir, ())
    assert [e["index"] for e in entries(workdir)] == [*IN_TREES, *IN_HOUSES]
    with pytest.raises(UserError, match=r"with 1 image of pile \(08.png\).* delete .*run/student"):
        graph.check(two, workdir)


def test_the_run_stops_before_a_student_that_saw_a_test_image_is_used(data, workdir, monkeypatch):
    def trained(recipe, workdir, only):
        if workdir.student.result() is None:
            workdir.student.begin()
            workdir.student.finish(student.inputs(recipe, workdir), {})
        after.append("student")

    after: list[str] = []
    monkeypatch.setitem(executor._ORDER, "student", trained)
    for name in ("transfer", "export", "report"):
        monkeypatch.setitem(executor._ORDER, name, lambda *_, name=name: after.append(name))

    def everything(*names):
        values = recipe_of(data, *names)
        executor.run(
            "all", recipe=lambda: values, workdir=workdir.root, only=(), strategy="one"
        )  # fmt: skip

    everything("trees")
    assert after == ["student", "transfer", "export", "report"]
    everything("trees")
    assert len(after) == 8
    with pytest.raises(UserError, match=r"\(08.png\) .*--reuse=.* delete .*run/student"):
        everything("trees", "houses")
    assert len(after) == 8 and workdir.student.result() == {}
    shutil.rmtree(workdir.student.folder)
    everything("trees", "houses")
    assert len(after) == 12


def test_a_pool_that_changed_is_compared_again(data, workdir):
    leakage.run(recipe_of(data, "trees"), workdir)
    save(data / "pile" / "00.png", picture(100))
    recipe = recipe_of(data, "trees")
    leakage.run(recipe, workdir)
    assert [e["index"] for e in entries(workdir)] == [0, *IN_TREES]
    shutil.rmtree(data / "pile")
    save(data / "pile" / "new.png", picture(50))
    recipe = recipe_of(data, "trees")
    leakage.run(recipe, workdir)
    assert entries(workdir) == []
    assert not (workdir.leaks("pile").folder / leakage.PICTURE).exists()


def test_only_the_new_block_of_a_pool_that_grew_is_compared(data, workdir, monkeypatch):
    def frozen() -> Recipe:
        recipe = pools.frozen(recipe_of(data, "trees"), workdir, new=True)
        pools.keep(recipe, workdir)
        return recipe

    leakage.run(frozen(), workdir)
    save(data / "pile" / "000.png", picture(60))
    save(data / "pile" / "copy.jpg", picture(100))
    read, names = duplicates.read, []
    monkeypatch.setattr(
        duplicates, "read", lambda source: names.append(source.name) or read(source)
    )
    recipe = frozen()
    leakage.run(recipe, workdir)
    assert names == ["trees_test", "pile_block2"]
    assert leakage.left_out(recipe, workdir) == {
        "pile": {i: f"{i:02}.png" for i in IN_TREES}, "pile_block2": {1: "copy.jpg"}
    }  # fmt: skip


def test_the_students_inputs_name_what_it_did_not_see(data, workdir):
    with_leaks, without = recipe_of(data, "trees"), recipe_of(data)
    run(with_leaks, workdir)
    assert student.inputs(with_leaks, workdir)["left_out"] == {"pile": ["02.png", "05.png"]}
    assert "left_out" not in student.inputs(without, workdir)
    assert len(student.training_set(without, workdir)) == COUNT
    for i in IN_TREES:
        (data / "pile" / f"{i:02}.png").unlink()
    clean = recipe_of(data, "trees")
    leakage.run(clean, workdir)
    assert leakage.left_out(clean, workdir) == {}


def test_without_transfers_there_is_nothing_to_compare(data, workdir):
    run(recipe_of(data), workdir)
    assert not (workdir.root / "leaks").exists()


def test_unreadable_images_are_skipped_and_told(data, workdir, capsys):
    (data / "pile" / "02.png").write_bytes(b"no picture")
    recipe = recipe_of(data, "trees")
    leakage.run(recipe, workdir)
    assert [e["index"] for e in entries(workdir)] == [5]
    said = capsys.readouterr().out
    assert "1 of 12 images are also in test splits (trees: 1)" in said
    assert said.endswith("duplicates.jsonl; 1 cannot be read\n")
    assert leakage.results(recipe, workdir)["pile"]["unreadable"] == 1


def test_a_list_that_somebody_changed_is_refused(data, workdir):
    recipe = recipe_of(data, "trees")
    leakage.run(recipe, workdir)
    path = workdir.leaks("pile").folder / leakage.LIST
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="names 1 images, not 2: delete .*leaks/pile"):
        leakage.left_out(recipe, workdir)
    path.unlink()
    with pytest.raises(DataError, match="duplicates.jsonl is damaged: it is missing"):
        leakage.left_out(recipe, workdir)


def test_a_student_with_nothing_left_says_so(data, workdir):
    for i in range(COUNT):
        if i not in IN_TREES:
            (data / "pile" / f"{i:02}.png").unlink()
    recipe = recipe_of(data, "trees")
    run(recipe, workdir)
    with pytest.raises(UserError, match="no image to learn from: all are in test splits"):
        student.training_set(recipe, workdir)


def test_the_report_shows_pairs_side_by_side(data, workdir):
    recipe = recipe_of(data, "trees", "houses")
    leakage.run(recipe, workdir)
    found = summary.collect(recipe, workdir)["leaks"]
    assert found == {
        "pile": {
            "images": COUNT, "unreadable": 0, "left_out": 3, "by_set": {"trees": 2, "houses": 1}
        }
    }  # fmt: skip
    ((sentence, shown),) = page._leaks(recipe, workdir)
    assert sentence.endswith("left out, see leaks/pile/duplicates.jsonl") and shown.startswith(
        "data:image/jpeg"
    )
    with Image.open(workdir.leaks("pile").folder / leakage.PICTURE) as image:
        grid = np.asarray(image)
    # Pairs of 240 pixels and a gap of 4; the least alike is the JPEG.
    left, right = grid[20:180, :240].astype(float), grid[20:180, 244:].astype(float)
    assert left.shape == right.shape and left.std() > 20 and abs(left - right).mean() < 12
    fewer = dataclasses.replace(recipe, transfers=recipe.transfers[:1])
    assert summary.collect(fewer, workdir)["leaks"] == {}
    ((sentence, shown),) = page._leaks(fewer, workdir)
    assert sentence == "pile: not compared with the test splits as they are now" and shown is None


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


def test_test_images_in_a_teachers_training_set_are_left_out_of_what_the_student_learns_from(
    garden, workdir
):
    """Of its batches, and of those of its baselines, ground truth too."""
    recipe = with_garden(garden, "trees", "houses")
    leakage.run(recipe, workdir)
    assert list(leakage.left_out(recipe, workdir)) == ["garden_train", "pile"]
    sources = label.student_sources(recipe)
    out = examples.left_out(recipe, workdir, sources)
    assert sorted(out["garden_train"].values()) == IN_GARDEN
    kept = {f"garden_train/{x}/{i}.png" for i, x in ((0, "rose"), (2, "rose"), (4, "rose"))}
    kept |= {"garden_train/fern/5.png"}
    union = examples.union(sources, recipe.tasks, left_out=out, who="the student")
    of_garden = {union.image_id(i) for i in range(len(union))} - {
        f"pile/{i:02}.png" for i in range(COUNT)
    }
    assert of_garden == kept
    feed = InputPipeline(union, recipe.tasks, TRAINING, size=64, seed=3)
    drawn = {image_id for step in range(TRAINING.steps) for image_id in feed.ids_of(step)}
    assert {x for x in drawn if x.startswith("garden")} == kept
    labels = [union.load(i)[1] for i in range(len(union)) if union.image_id(i) in kept]
    assert len(labels) == 4 and all(one["garden"]["probabilities"].max() == 1 for one in labels)
    of_baselines = (
        supervised.inputs(recipe, workdir),
        selfsup.inputs(recipe, workdir, recipe.selfsup[0]),
    )
    for inputs in of_baselines:
        assert sorted(inputs["left_out"]["garden_train"]) == IN_GARDEN
    assert "pile" not in of_baselines[0]["left_out"], "it has no ground truth"


def test_the_report_counts_and_states_those_of_teachers(garden, workdir, capsys):
    recipe = with_garden(garden, "trees", "houses")
    leakage.run(recipe, workdir)
    said = "garden_train: 2 of 6 images are also in test splits (trees: 1, houses: 1): left out"
    assert said in capsys.readouterr().out
    found = summary.collect(recipe, workdir)["leaks"]
    assert found["garden_train"] == {
        "images": 6, "unreadable": 0, "left_out": 2, "by_set": {"trees": 1, "houses": 1}
    }  # fmt: skip
    assert found["pile"]["left_out"] == 3
    sentences = [sentence for sentence, _ in page._leaks(recipe, workdir)]
    assert sentences[0].startswith(said) and sentences[1].startswith("pile: 3 of 12")
    assert (workdir.leaks("garden_train").folder / leakage.PICTURE).is_file()


@pytest.mark.parametrize(
    ("union", "starts", "compared"),
    [
        (True, ("random", "student"), ["garden_train", "pile"]),
        (False, ("random", "student"), ["pile"]),
        (False, ("random", "supervised"), ["garden_train", "pile"]),
    ],
)
def test_a_training_set_is_compared_as_far_as_something_learns_from_it(
    garden, workdir, union, starts, compared
):
    recipe = with_garden(
        garden, "trees", student=Student(training=TRAINING, union=union), starts=starts
    )
    assert [source.name for source in leakage.sources(recipe)] == compared
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


def test_a_teacher_that_learned_from_test_images_is_no_fair_start(garden, workdir, capsys):
    starts = ("random", "teacher-garden")
    recipe = with_garden(garden, "trees", "houses", starts=starts)
    leakage.run(recipe, workdir)
    warnings = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning: teacher")]
    assert len(warnings) == 2
    assert "'garden' was trained on 1 images" in warnings[0] and "'trees'" in warnings[0]
    assert 'aligned={"teacher-garden": "images"}' in warnings[0]
    sentences = [f"warning: {sentence}" for sentence, _ in page._leaks(recipe, workdir)]
    assert sentences[-2:] == warnings
    marked = tuple(
        dataclasses.replace(t, aligned={"teacher-garden": "images"}) for t in recipe.transfers
    )
    assert leakage.of_teachers(dataclasses.replace(recipe, transfers=marked), workdir) == []
    assert leakage.of_teachers(with_garden(garden, "trees", "houses"), workdir) == []


def test_inputs_are_those_of_before_where_nothing_leaks(garden, workdir):
    """So finished students and baselines stay what they are."""
    shutil.rmtree(garden / "houses" / "test" / "low")
    save(garden / "houses" / "test" / "low" / "other.png", picture(400))
    for path in (garden / "pile" / "08.png", garden / "garden" / "train" / "fern" / "3.png"):
        path.unlink()
    recipe = with_garden(garden, "houses")
    leakage.run(recipe, workdir)
    assert leakage.left_out(recipe, workdir) == {}
    assert "left_out" not in supervised.inputs(recipe, workdir)
    sources = label.student_sources(recipe)
    union = examples.union(
        sources, recipe.tasks, left_out=examples.left_out(recipe, workdir, sources), who="it"
    )
    assert len(union) == sum(len(source) for source in sources)


def test_supervised_alone_compares_its_images_first(garden, workdir, monkeypatch):
    found = {}
    monkeypatch.setitem(
        executor._ORDER,
        "supervised",
        lambda recipe, workdir, _: found.update(leakage.left_out(recipe, workdir)),
    )
    recipe = with_garden(garden, "trees", "houses", starts=("random", "supervised"))
    executor.run(
        "supervised", recipe=lambda: recipe, workdir=workdir.root, only=(), strategy="one"
    )  # fmt: skip
    assert sorted(found["garden_train"].values()) == IN_GARDEN


def test_a_finished_student_that_saw_them_must_be_made_again(garden, workdir):
    """It is of a version before: its training set was not looked through."""
    recipe = with_garden(garden, "trees", "houses")
    before = recipe_of(garden, "trees", "houses")
    leakage.run(before, workdir)
    made_from = supervised.inputs(with_garden(garden), workdir)
    asked = dataclasses.replace(recipe, starts=("random", "supervised"))
    workdir.supervised.begin()
    workdir.supervised.finish(made_from, {})
    graph.check(asked, workdir, "supervised")
    leakage.run(asked, workdir)
    with pytest.raises(UserError, match=r"made with 2 images of garden_train \(fern/1.png, fern/3"):
        graph.check(asked, workdir, "supervised")
