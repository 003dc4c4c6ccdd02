import copy
import dataclasses

import pytest

from must_keras import experiment
from must_keras.config.recipe import ExternalTeacher, Pool
from must_keras.data.mixing import MixUp
from must_keras.data.sources import Concatenated, ImagesOnly, Joined, Relabeled, ScenesSource
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.tasks import Classification, Detection, Segmentation
from must_keras.training.best import KeepBest

TINY = {"images": "40", "pool_images": "48"}


@pytest.fixture(scope="module")
def scenes():
    return experiment.load("scenes", TINY, data_dir="nowhere")


def test_weights_follow_the_papers_formula(scenes):
    """w = (b_s lr_i) / (b_i lr_s): a teacher with half the batch and twice the rate counts 4."""
    student = scenes.student.training
    faster = dataclasses.replace(
        student, batch=student.batch // 2, learning_rate=2 * student.learning_rate
    )
    first = dataclasses.replace(scenes.teachers[0], training=faster)
    recipe = dataclasses.replace(scenes, teachers=(first, *scenes.teachers[1:]))
    weights = recipe.loss_weights()
    assert (weights["shapes"].value, weights["shapes"].source) == (4.0, "formula")
    assert (weights["distance"].value, weights["distance"].source) == (1.0, "given")


@pytest.mark.parametrize(
    ("weighting", "values", "sources"),
    [
        ("equal", [1.0, 1.0, 1.0, 1.0], {"equal"}),
        ("uncertainty", [1.0, 1.0, 1.0, 0.5], {"learned"}),
        ("formula", [1.0, 1.0, 1.0, 1.0], {"formula", "given"}),
    ],
)
def test_weights_are_chosen_by_an_argument(weighting, values, sources):
    recipe = experiment.load("scenes", TINY | {"weighting": weighting}, data_dir="nowhere")
    weights = recipe.loss_weights().values()
    assert [weight.value for weight in weights] == values
    assert {weight.source for weight in weights} == sources
    with pytest.raises(UserError, match="weighting is a str, expected a Weighting"):
        dataclasses.replace(recipe.student, weighting="equal")


def test_depth_needs_a_weight_of_its_own(scenes):
    depth = dataclasses.replace(scenes.teachers[-1], loss_weight=None)
    recipe = dataclasses.replace(scenes, teachers=(*scenes.teachers[:-1], depth))
    with pytest.raises(UserError, match=r"'distance': .* give teacher 'distance' a loss_weight"):
        recipe.loss_weights()


def test_names_are_unlike_each_other(scenes):
    task = Classification(name="surfaces", classes=scenes.teachers[0].task.classes)
    twice = dataclasses.replace(scenes.teachers[0], task=task)
    with pytest.raises(UserError, match="two heads are named 'surfaces'"):
        dataclasses.replace(scenes, teachers=(twice, *scenes.teachers[1:]))


def test_a_head_is_not_named_like_a_layer_of_the_network(scenes):
    task = Classification(name="neck", classes=scenes.teachers[0].task.classes)
    first = dataclasses.replace(scenes.teachers[0], task=task)
    with pytest.raises(UserError, match="cannot be named 'neck'"):
        dataclasses.replace(scenes, teachers=(first, *scenes.teachers[1:]))


def test_starts_are_checked_before_anything_is_trained(scenes):
    with pytest.raises(UserError, match="did you mean 'student'"):
        dataclasses.replace(scenes, starts=("random", "studnet"))
    everything = dataclasses.replace(scenes, starts=("all",)).start_names
    assert everything == (
        "random", "teacher-shapes", "teacher-objects", "teacher-surfaces", "teacher-distance",
        "student", "supervised", "simclr", "moco",
    )  # fmt: skip


def test_the_benchmark_gives_every_start_the_same():
    """Nine starts, six sets, as many images drawn by all; another seed draws other worlds."""
    one, other = (
        experiment.load("scenes_benchmark", {"seed": seed}, data_dir="nowhere") for seed in "01"
    )
    assert one.neck == "backbone" and len(one.start_names) == 9 and len(one.transfers) == 6
    trained = [item.training for item in (*one.trained_teachers, one.student, *one.wanted_selfsup)]
    assert {training.images_seen for training in (*trained, one.wanted_supervised)} == {12_800}
    assert {t.learning_rates for t in one.transfers} == {(1e-3, 3e-3, 1e-2)}
    assert (one.seed, other.seed) == (0, 1)
    for a, b in zip(
        (*one.trained_teachers, *one.transfers), (*other.trained_teachers, *other.transfers),
        strict=True,
    ):  # fmt: skip
        for split in ("train", "validation", "test"):
            assert getattr(a.sets, split) != getattr(b.sets, split)


def test_alignment_is_the_kind_of_task_unless_the_transfer_says_more(scenes):
    boxes = next(t for t in scenes.transfers if t.name == "dev_boxes")
    starts = ("random", "teacher-shapes", "teacher-objects", "student")
    assert [scenes.alignment(boxes, s) for s in starts] == ["none", "none", "task", "task"]
    seen = dataclasses.replace(boxes, aligned={"student": "set"})
    assert scenes.alignment(seen, "student") == "set"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing": (MixUp(),)}, "transfer 'dev_class': mixing=.* mode='frozen' trains a head"),
        ({"stochastic_depth": 0.1}, "transfer 'dev_class': stochastic_depth=0.1: mode='frozen'"),
    ],
)
def test_options_of_a_transfer_without_effect_on_frozen_features(scenes, changes, message):
    first, *others = scenes.transfers
    changed = dataclasses.replace(first, training=dataclasses.replace(first.training, **changes))
    transfers = (changed, *others)
    assert dataclasses.replace(scenes, transfers=transfers).transfers == transfers
    with pytest.raises(UserError, match=message):
        dataclasses.replace(scenes, transfers=transfers, mode="frozen")


def test_a_teacher_with_a_network_of_its_own_is_no_start(scenes):
    large = dataclasses.replace(scenes.network, size=96)
    first = dataclasses.replace(scenes.teachers[0], network=large)
    assert first.input_size(scenes.network) == 96
    teachers = (first, *scenes.teachers[1:])
    recipe = dataclasses.replace(scenes, teachers=teachers, starts=("all",))
    assert "teacher-shapes" not in recipe.start_names and "student" in recipe.start_names
    with pytest.raises(UserError, match="starts=teacher-shapes: the teacher has a network of its"):
        dataclasses.replace(scenes, teachers=teachers)
    with pytest.raises(UserError, match="network is a str, expected a Network or None"):
        dataclasses.replace(first, network="resnet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool_images": "0"}, "source 'pool' has no image"),
        ({"pool_images": "-3"}, "must not be negative"),
        ({"teacher_steps": "-1"}, "steps must be 0 or more"),
        ({"teacher_steps": "0"}, "'shapes': steps=0 needs a start"),
        ({"batch": "0"}, "batch must be positive"),
        ({"size": "50"}, "multiple of 32"),
        ({"transfer_seeds": "0"}, "transfer_seeds=0"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        experiment.load("scenes", TINY | arguments, data_dir=None)


@pytest.mark.parametrize(
    "name", ["../x", "/abs", "a/b", "..", "", " ", "a\nb", "a.", "a ", "x" * 101]
)
def test_a_pool_s_name_never_leads_elsewhere(scenes, name):
    source = copy.copy(scenes.pools[0].source)
    source.name = name
    with pytest.raises(UserError, match="names a folder"):
        dataclasses.replace(scenes, pools=(Pool(source=source),))


def renamed(source, name):
    source = copy.copy(source)
    source.name = name
    return source


def test_names_that_are_one_on_some_disks_are_refused(scenes, tmp_path):
    one, other = scenes.teachers[:2]
    transfer, pool = scenes.transfers[0], scenes.pools[0]
    task = dataclasses.replace(other.task, name=one.task.name.upper())
    sets = dataclasses.replace(one.sets, train=renamed(one.sets.train, "pile_Block2"))
    (tmp_path / "1.jpg").write_bytes(b"")
    pile = Pool(source=ImagesOnly(name="pile", root=tmp_path))
    for change, words in (
        ({"teachers": (one, dataclasses.replace(other, name=one.name.upper()))}, "teachers"),
        ({"teachers": (one, dataclasses.replace(other, task=task))}, "heads"),
        ({"transfers": (transfer, dataclasses.replace(transfer, name="DEV_class"))}, "transfers"),
        ({"pools": (pool, Pool(source=renamed(pool.source, "POOL")))}, "sources"),
        ({"pools": (pool, Pool(source=renamed(pool.source, one.sets.train.name.upper())))},
         "sources"),
        ({"pools": (pile, Pool(source=renamed(pile.source, "pile_block2")))}, "a block of pool"),
        ({"pools": (pile,), "teachers": (dataclasses.replace(one, sets=sets), other)},
         "a block of pool"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words) as error:
            dataclasses.replace(scenes, **change)
        assert "rename one of them" in str(error.value)
    # Scenes do not grow.
    block = dataclasses.replace(pool, source=renamed(pool.source, f"{pool.source.name}_block2"))
    dataclasses.replace(scenes, pools=(pool, block))


def with_head(item, name):
    return dataclasses.replace(item, task=dataclasses.replace(item.task, name=name))


@pytest.mark.parametrize(
    ("field", "head", "mistyped", "message"),
    [
        (
            "teachers", "objects", "objcts",
            r"teacher 'objects', train: source '\w+' labels objects, not 'objcts'; did you mean",
        ),
        ("transfers", "dev_boxes", "dev_boxs", r"transfer 'dev_boxes', train: .* not 'dev_boxs'"),
    ],
)  # fmt: skip
def test_a_head_that_its_set_does_not_label_is_named(scenes, field, head, mistyped, message):
    items = [
        with_head(item, mistyped) if item.name == head else item for item in getattr(scenes, field)
    ]
    with pytest.raises(UserError, match=message):
        dataclasses.replace(scenes, **{field: tuple(items)})


def test_an_alignment_that_is_none_is_named(scenes):
    with pytest.raises(UserError, match=r"aligned\['student'\]='tsak'; did you mean 'task'"):
        dataclasses.replace(scenes.transfers[0], aligned={"student": "tsak"})


def test_a_source_that_is_asked_for_another_head_names_its_own(scenes):
    source = next(t for t in scenes.teachers if t.name == "objects").sets.train
    with pytest.raises(UserError, match=r"labels objects, not 'boxes'; allowed are objects"):
        source.label_spaces["boxes"]
    assert source.label_spaces.get("boxes") is None and "boxes" not in source.label_spaces


@pytest.mark.parametrize("wrong", ["cat", 10, None, {0: "cat"}, (0, 1), ("cat", ""), ("cat", None)])
@pytest.mark.parametrize("task", [Classification, Detection, Segmentation])
def test_classes_are_a_tuple_of_names(task, wrong):
    with pytest.raises(UserError, match="x: classes"):
        task(name="x", classes=wrong)


def test_parts_of_another_kind_end_in_one_line(scenes):
    teacher = next(t for t in scenes.teachers if t.name == "objects")
    source, transfer = teacher.sets.train, scenes.transfers[0]
    heads = {"config": source._config, "split": "train", "name": "s"}
    mapped = {"head": "objects", "classes": ("a",)}
    for make, message in (
        (lambda: dataclasses.replace(teacher, loss_weight="1"), "str, expected a number or None"),
        (lambda: dataclasses.replace(teacher, name=None), "name is a NoneType, expected a str"),
        (lambda: dataclasses.replace(transfer, aligned=["student"]), "aligned is a list"),
        (lambda: dataclasses.replace(scenes, starts=(None,)), "starts=None: allowed are random"),
        (lambda: dataclasses.replace(scenes, teachers=("a",)), "teachers contain a str"),
        (lambda: dataclasses.replace(scenes.network, size="64"), "size is a str, expected a whole"),
        (lambda: Splits(train="a", validation=source, test=source), "train is a str"),
        (lambda: ScenesSource(heads=["objects"], **heads), "heads=.*expected {feature: head}"),
        (lambda: Relabeled("a", mapping={}, **mapped), "received 'a': expected a source"),
        (lambda: Relabeled(source, mapping=["a"], **mapped), r"mapping=\['a'\]"),
        (lambda: Relabeled(source, mapping={0: "a"}, **mapped), "names the class 0"),
        (lambda: Relabeled(source, head="objects", classes="a", mapping={}), "classes='a'"),
        (lambda: Joined([], name="j"), "Joined 'j': received"),
        (lambda: Joined(source, name="j"), "Joined 'j': received"),
        (lambda: Concatenated([source, "a"], name="c"), "Concatenated 'c': received 'a'"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_thresholds_by_names_say_how_to_write_them(scenes):
    teacher = next(t for t in scenes.teachers if t.name == "objects")
    first, *others = teacher.task.classes
    with pytest.raises(
        UserError, match=rf"give one number for each .*\(0\.4{', ...' * len(others)},\)"
    ):
        dataclasses.replace(teacher, threshold={first: 0.4})
    with pytest.raises(UserError, match=f"'{first}s' is of no class; did you mean '{first}'"):
        dataclasses.replace(teacher, threshold={f"{first}s": 0.4})


def with_objects(scenes, **changes):
    """The recipe with other values of the teacher of objects."""
    teachers = [
        dataclasses.replace(t, **changes) if t.name == "objects" else t for t in scenes.teachers
    ]
    return dataclasses.replace(scenes, teachers=tuple(teachers))


def test_a_teacher_labels_what_it_is_asked_for(scenes):
    def labeled(recipe):
        return {t.name: [s.name for s in recipe.sources_labeled_by(t)] for t in recipe.teachers}

    before, after = labeled(scenes), labeled(with_objects(scenes, labels_of=("pool",)))
    assert before["objects"] == ["single", "rooms", "depth", "pool"]
    assert after == before | {"objects": ["pool"]}
    several = with_objects(scenes, labels_of=("pool", "single"))
    assert labeled(several)["objects"] == ["single", "pool"], "in the order of the sources"
    assert labeled(with_objects(scenes, labels_of=()))["objects"] == []


def test_a_head_has_labels_of_some_source(scenes):
    alone = dataclasses.replace(scenes, student=dataclasses.replace(scenes.student, union=False))
    with pytest.raises(UserError, match=r"labels_of=\(\): at least one source is needed"):
        with_objects(alone, labels_of=())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("pol",),
            "labels_of='pol'; did you mean 'pool'\\? allowed are single, rooms, depth, pool",
        ),
        (("crowd",), "labels_of='crowd'; .*allowed are single, rooms, depth, pool"),
        ("pool", "labels_of is no tuple; with one str: "),
        ((3,), "labels_of contain an int, expected a str"),
    ],
)
def test_what_cannot_be_labeled_is_named(scenes, names, message):
    with pytest.raises(UserError, match=f"teacher 'objects': {message}") as found:
        with_objects(scenes, labels_of=names)
    assert found.value.key == "labels_of"


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        ({"pol": 2}, "repeats names the source 'pol'; did you mean 'pool'"),
        ({"pool": 0}, r"repeats\['pool'\]=0: expected a whole number of times, at least 1"),
        ({"pool": 1.5}, r"repeats\['pool'\]=1.5: expected a whole number of times"),
        (("pool",), "repeats is a tuple, expected a Mapping"),
    ],
)
def test_what_cannot_be_repeated_is_named(scenes, repeats, message):
    with pytest.raises(UserError, match=f"the student: {message}"):
        student = dataclasses.replace(scenes.student, repeats=repeats)
        dataclasses.replace(scenes, student=student)


def test_the_best_weights_need_a_step_and_a_head_with_validation_images(scenes):
    def kept(**values):
        training = dataclasses.replace(scenes.student.training, keep_best=KeepBest(), **values)
        return dataclasses.replace(scenes.student, training=training)

    with pytest.raises(UserError, match="the student: keep_best=.*without a step"):
        dataclasses.replace(scenes, student=kept(steps=0))
    model = ExternalModel(model=lambda images: images, version="1", size=64, form="meters")
    teacher = scenes.teacher("distance")
    teacher = ExternalTeacher(name="distance", task=teacher.task, model=model, loss_weight=1.0)
    with pytest.raises(UserError, match="the student: keep_best=.*without heads"):
        dataclasses.replace(scenes, teachers=(teacher,), student=kept(), starts=("random",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ground_truth_share": 1.0}, r"ground_truth_share=1.0: expected a number in \[0.001, 0.9"),
        ({"ground_truth_share": "half"}, "ground_truth_share='half': expected a number"),
        ({"strong_views": True}, "strong_views is a bool, expected a StrongViews or None"),
    ],
)
def test_what_a_student_cannot_see_is_named(scenes, values, message):
    with pytest.raises(UserError, match=f"the student: {message}"):
        dataclasses.replace(scenes.student, **values)
