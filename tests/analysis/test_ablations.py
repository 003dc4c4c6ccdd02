"""The ablations of the scenes recipe: what each changes, and that it takes all the rest along."""

import dataclasses

import numpy as np
import pytest

from fakes.few_layers import NETWORK
from fakes.results import finish
from must_keras import experiment, stages
from must_keras.config.recipe import Labeler
from must_keras.data.sources import ScenesSource
from must_keras.errors import UserError
from must_keras.modeling.backbone import ResNet
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.runs import plan
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import Scored
from must_keras.runs.run import Run
from must_keras.stages import student, teacher
from must_keras.synthetic import SceneConfig
from must_keras.synthetic.examples import render_example, rendered_examples
from must_keras.training.initialization import FromCheckpoint, FromScratch

TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}
STARTS = {"starts": "random+student"}


def load(**arguments):
    return experiment.load("scenes", TINY | STARTS | arguments, data_dir="nowhere")


def missing(recipe, other, folder) -> set[str]:
    """The artifacts that a run of the recipe makes itself, where another run may lend its own."""
    mine = Run(recipe=recipe, path=folder, others=(other.path,))
    found = plan.of(mine, stages.load())
    found.check()
    found.reuse()
    items = [item for item in found.items if not item.artifact.is_there]
    return {str(item.artifact.folder.relative_to(folder)) for item in items}


STUDENT = {"student", "export"} | {
    f"transfers/dev_{name}/student/full-fpn-all/seed0"
    for name in ("class", "boxes", "map", "map2", "depth", "normals")
}


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ({}, set()),
        ({"teachers": "shapes"}, STUDENT),
        ({"teachers": "surfaces+objects"}, STUDENT),
        ({"box_threshold": "0.5"}, STUDENT),
        ({"map_threshold": "0.7"}, STUDENT),
        ({"weight_by_score": "true"}, STUDENT),
        ({"hard_classes": "true"}, STUDENT),
        ({"union": "false"}, STUDENT),
        ({"student_epochs": "2"}, STUDENT),
        ({"strong_views": "true"}, STUDENT),
        ({"ground_truth_share": "0.5"}, STUDENT),
        ({"weighting": "equal"}, STUDENT),
        ({"weighting": "uncertainty"}, STUDENT),
        ({"depth_weight": "5"}, STUDENT),
        ({"cutmix": "0.3", "mixup": "0.2", "copy_paste": "0.1"}, STUDENT),
    ],
)
def test_teachers_and_labels_are_those_of_the_default_run(run, tmp_path, arguments, made):
    assert missing(load(**arguments), run, tmp_path / "mine") == made


def test_fitted_anchors_are_of_the_detection_tasks_alone(tmp_path):
    def tasks(**arguments):
        tiny = {"images": "10", "pool_images": "8", "size": "32"}
        recipe = experiment.load("scenes", tiny | arguments, data_dir=str(tmp_path))
        return [*recipe.tasks, *(transfer.task for transfer in recipe.transfers)]

    usual, fitted = tasks(), tasks(fitted_anchors="true")
    changed = {new.name for old, new in zip(usual, fitted, strict=True) if old != new}
    assert changed == {"objects", "boxes"}
    for old, new in zip(usual, fitted, strict=True):
        if old != new:
            anchors = {"anchor_scales": new.anchor_scales, "anchor_ratios": new.anchor_ratios}
            assert dataclasses.replace(old, **anchors) == new


def test_without_mixed_images_the_inputs_are_those_of_before():
    recipe, mixed = load(), load(cutmix="0.3", copy_paste="0.1")
    assert recipe.student.training.mixing == () and "mixing" not in describe(recipe.supervised)
    assert [way["type"] for way in describe(mixed.student)["training"]["mixing"]] == [
        "CutMix", "CopyPaste",
    ]  # fmt: skip
    with pytest.raises(UserError, match="the student: mixing: CopyPaste needs a head with boxes"):
        load(copy_paste="0.1", teachers="shapes")


def test_rounds_reuse_the_first_student_too(run, tmp_path):
    run.student.model_path.write_text("a student")
    (run.student.folder / "metrics.jsonl").write_text(
        '{"step": 1, "split": "validation", "top1": 0.5}\n'
    )
    scored = Scored(metrics={"top1": 0.4}, trivial={})
    finish(student.artifact(run), tasks={"shapes": scored}, model_sha256="x")
    twice = load(rounds="2", starts="random+student+rounds")
    made = missing(twice, run, tmp_path / "mine")
    assert "student" not in made and not any(name.startswith("teachers/") for name in made)
    assert {"rounds/2/teachers/shapes", "rounds/2/student", "rounds"} <= made


def test_inputs_are_those_of_before_where_no_labeler_is_named(run):
    """A labeler with the recipe's own network and start is the same first student."""
    plain = student.artifact(run).inputs
    own = Labeler(network=run.recipe.network, start=run.recipe.student.start)
    changes = {"labelers": (own,), "rounds": 2, "starts": ("random", "rounds")}
    same = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **changes))
    assert student.artifact(same).inputs == plain
    other = Labeler(network=dataclasses.replace(run.recipe.network, size=96), start=FromScratch())
    changed = dataclasses.replace(same.recipe, labelers=(other,))
    found = student.artifact(dataclasses.replace(run, recipe=changed)).inputs
    assert found["network"].pop("size") == 96 and plain["network"].pop("size") == 64
    assert found == plain


def test_labelers_are_named_by_their_depth():
    twice = load(labelers="34+18", rounds="3", starts="random+rounds")
    backbones = [labeler.network.backbone for labeler in twice.labelers]
    assert backbones == [ResNet.of_depth(34), ResNet.of_depth(18)]
    assert twice.first_student == twice.labelers[0] and load().first_student.network.size == 64
    with pytest.raises(UserError, match="published ResNets have 18"):
        load(labelers="7", rounds="2", starts="random+rounds")


def test_a_larger_pool_reuses_the_labels_of_the_smaller_one(run, tmp_path):
    new = {f"labels/{name}/pool_block2" for name in ("shapes", "objects", "surfaces", "distance")}
    made = missing(load(pool_times="4"), run, tmp_path / "mine")
    assert made == STUDENT | new | {"leaks/pool_block2"}


def test_a_larger_pool_begins_with_the_smaller_one():
    def ids(recipe):
        sources = [pool.source for pool in recipe.pools]
        return [source.image_id(i) for source in sources for i in range(len(source))]

    pools = {times: load(pool_times=str(times)) for times in (1, 4, 16)}
    sizes = {times: [len(pool.source) for pool in r.pools] for times, r in pools.items()}
    assert sizes == {1: [48], 4: [48, 144], 16: [48, 144, 576]}
    assert ids(pools[16])[:192] == ids(pools[4]) and ids(pools[4])[:48] == ids(pools[1])
    assert len(set(ids(pools[16]))) == 768
    assert [len(pool.source) for pool in load(pool_times="6").pools] == [48, 144, 96]
    for pool in pools[16].pools:
        assert [pool.truth.image_id(i) for i in (0, 47)] == [
            pool.source.image_id(i) for i in (0, 47)
        ]


def test_the_students_budget_is_the_same_whatever_the_pool():
    trainings = [load(pool_times=times).student.training for times in ("1", "4", "16")]
    assert trainings[0] == trainings[1] == trainings[2]


def test_epochs_are_the_students_alone():
    recipe = load(student_epochs="2.5")
    student, default = recipe.student.training, load()
    assert (student.epochs, student.steps) == (2.5, None)
    assert dataclasses.replace(student, epochs=None, steps=800) == default.student.training
    assert recipe.supervised == default.supervised and recipe.selfsup == default.selfsup


def test_blocks_of_rendered_images_continue_each_other(tmp_path):
    whole = SceneConfig(family="pool", size=32, train=5, validation=0, test=0)
    rest = SceneConfig(family="pool", size=32, train=3, validation=0, test=0, first=2)
    assert rest.name == "pool-32px-seed0-3-0-0-from2" and "from" not in whole.name
    source = ScenesSource(name="rest", config=rest, split="train", heads={}, data_dir=tmp_path)
    for place in range(3):
        np.testing.assert_array_equal(
            source.image(place), render_example(whole, "train", 2 + place)["image"]
        )
    rendered = list(rendered_examples(rest, "train", workers=2))
    assert [example["id"] for example in rendered] == [source.image_id(i) for i in range(3)]


def test_fewer_teachers_have_their_heads_in_one_order():
    recipe = load(teachers="surfaces+shapes")
    assert [t.name for t in recipe.teachers] == ["shapes", "surfaces"]
    assert set(recipe.pools[0].truth.label_spaces) == {"shapes", "surfaces"}
    assert {s.name for s in recipe.student_sources} == {"single", "rooms", "pool"}


def test_pseudo_labels_alone_are_those_of_the_pool():
    assert [s.name for s in load(union="false").student_sources] == ["pool"]


def test_a_checkpoint_is_a_start_and_teachers_do_without_it(tmp_path):
    backbone = NETWORK.backbone.build(None, {})
    path = tmp_path / "backbone.keras"
    backbone.save(path)
    strong = load(checkpoint=str(path), starts="random+checkpoint+student")
    scratch = load(checkpoint=str(path), student_start="random")
    assert isinstance(strong.network.backbone, KerasBackbone)
    assert strong.student.start == strong.selfsup[0].start == FromCheckpoint()
    assert scratch.student.start == FromScratch()
    for one, other in zip(strong.teachers, scratch.teachers, strict=True):
        assert one.start == FromScratch()
        sides = [(strong, one), (scratch, other)]
        runs = [(Run(recipe=recipe, path=tmp_path), item) for recipe, item in sides]
        inputs = [teacher.artifact(run, item).inputs for run, item in runs]
        assert inputs[0] == inputs[1]
    with pytest.raises(UserError, match="there is no file"):
        load(checkpoint="nowhere.keras").network.backbone.checkpoint_sha256()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"teachers": "shape"}, "teachers=shape: did you mean 'shapes'"),
        ({"pool_times": "0"}, "pool_times=0: at least 1"),
        ({"box_threshold": "0.01"}, "0.05"),
        ({"rounds": "0"}, "rounds=0"),
        ({"starts": "rounds"}, "starts=rounds"),
        ({"feature_weight": "2"}, "feature_weight=2.0: it has no effect without feature_teacher"),
        ({"student_start": "random"}, "student_start='random': .* without checkpoint"),
        ({"hard_classes": "true", "teachers": "objects"}, "without teachers=shapes"),
        ({"weight_by_score": "true", "teachers": "shapes"}, "teachers=objects or surfaces"),
        ({"drop_heads": "0.5", "teachers": "shapes"}, "drop_heads=0.5: there is one head, which"),
    ],
)
def test_impossible_values_are_said(arguments, message):
    with pytest.raises(UserError, match=message):
        load(**arguments)
