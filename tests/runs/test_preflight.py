"""What labels leave to learn is counted at the recipe's size, and reported before training."""

import dataclasses

import numpy as np
import pytest

from fakes.few_layers import OnlyOnce
from fakes.random_examples import NETWORK, training
from must_keras.config.recipe import Pool, Recipe, Student, Teacher
from must_keras.data.augmentation import Augmentation
from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.sources import source as stored
from must_keras.data.splits import Splits
from must_keras.data.strong_views import StrongViews
from must_keras.errors import DataError, UserError
from must_keras.modeling.pretrained import Pretrained
from must_keras.runs import preflight
from must_keras.runs.label_contents import LabelContents, search
from must_keras.runs.run import Run
from must_keras.self_supervised import Rotation, SelfLabeling
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromCheckpoint, FromScratch
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.self_labeled import SelfLabeled

CLASSES = ("cat", "dog", "cow")
KIND = Classification(name="kind", classes=CLASSES)
THINGS = Detection(name="things", classes=CLASSES)
PARTS = Segmentation(name="parts", classes=CLASSES)
ONE_KIND = Classification(name="kind", classes=("images",))
ONE_PART = Segmentation(name="parts", classes=("road",))
FAR = Depth(name="far")
RELATIVE = Depth(name="near", kind="relative_inverse")
FACING = Normals(name="facing")
WIDTH, HEIGHT = 640, 480


class Given(Source):
    """Pictures of 640 x 480 pixels, NETWORK's input ten times as wide, with given labels."""

    def __init__(self, task, labels, name="given"):
        self.name, self._task, self._labels = name, task, labels
        self.label_spaces = {task.name: LabelSpace.of(task)}
        self.images_read, self.labels_read = set(), set()

    def __len__(self):
        return len(self._labels)

    def image_id(self, index):
        return f"{index}.png"

    def image(self, index):
        self.images_read.add(index)
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def labels(self, index):
        self.labels_read.add(index)
        label = self._labels[index]
        return {} if label is None else {self._task.name: label}

    def describe(self):
        return {"name": self.name}


def objects(*boxes, classes=None, ignore=None):
    """A stored label of boxes (ymin, xmin, ymax, xmax) in pixels."""
    boxes = np.array(boxes, float).reshape(-1, 4) / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    return stored.objects(
        boxes=boxes,
        classes=np.zeros(len(boxes), int) if classes is None else classes,
        ignore=np.zeros(len(boxes), bool) if ignore is None else ignore,
    )


def of_classes(*indices):
    return [stored.class_label(i, len(CLASSES)) for i in indices]


def seg(*values):
    return {"map": np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH))}


def depth(values):
    return {"depth": np.resize(np.array(values, np.float32), (HEIGHT, WIDTH))}


def recipe(task, train, *, others=None, pools=(), scale=(1.0, 1.0)):
    others = train if others is None else others
    sets = Splits(
        **{
            split: Given(task, labels, name=f"given_{split}")
            for split, labels in (("train", train), ("validation", others), ("test", others))
        }
    )
    training = TrainingConfig(
        steps=1, batch=2, learning_rate=1e-3, optimizer=AdamW(),
        augmentation=Augmentation(scale=scale),
    )  # fmt: skip
    teacher = Teacher(name="mine", task=task, sets=sets, training=training, loss_weight=1.0)
    return Recipe(
        name="test", seed=0, network=NETWORK, teachers=(teacher,),
        pools=pools or (Pool(source=Given(FAR, [None], name="pool")),),
        student=Student(training=training), transfers=(), starts=("random",),
    )  # fmt: skip


def warnings_of(tmp_path, capsys, given):
    """The warnings of a recipe's preflight, without those of the pool."""
    preflight.check_data(Run(recipe=given, path=tmp_path / "run"))
    lines = capsys.readouterr().err.splitlines()
    return [x for x in lines if x.startswith("warning: ") and "pool 'pool'" not in x]


@pytest.mark.parametrize(
    ("changes", "num_warnings"),
    [
        ({}, 1),
        ({"starts": ("random", "checkpoint")}, 0),
        ({"student": FromCheckpoint()}, 0),
        ({"network": NETWORK}, 0),
    ],
)
def test_pretrained_weights_that_nothing_starts_from(changes, num_warnings, capsys):
    given = recipe(KIND, of_classes(0, 1, 2))
    network = dataclasses.replace(NETWORK, backbone=Pretrained("mobilenet"))
    student = dataclasses.replace(given.student, start=changes.pop("student", FromScratch()))
    given = dataclasses.replace(given, **({"network": network, "student": student} | changes))
    preflight._warn_of_unused_weights(given)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == num_warnings
    assert all("the network's Pretrained are not used: every training" in line for line in lines)


BIG, SMALL = (100, 100, 200, 200), (100, 100, 108, 200)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        # 10 px of the image are one of the network's input.
        (THINGS, [objects(SMALL)] * 3, "all 3 objects are smaller than one pixel at 64 px"),
        (THINGS, [objects(BIG, ignore=[True])] * 2, "all 2 objects are ignored"),
        (THINGS, [objects()] * 4, "none of the 4 images has an object with an area"),
        (THINGS, [objects((0.1, 0.1, 0.5, 0.9))], "look like fractions"),
        (
            THINGS,
            [objects(BIG, SMALL, SMALL, ignore=[True, False, False])],
            "of 3 objects, 2 objects are smaller than one pixel at 64 px and 1 object is ignored",
        ),
        (THINGS, [None, None], "none of the 2 images has a label for the head"),
        (KIND, [None, None], "none of the 2 images has a label for the head"),
        (PARTS, [seg(255)] * 3, "all 921600 pixels are unknown (255"),
        (FAR, [depth(0)] * 2, "all 614400 pixels are unknown"),
        (FAR, [depth(np.nan)] * 2, "all 614400 pixels are unknown"),
        (RELATIVE, [depth(3.0)] * 2, "all 614400 pixels are"),
        (FACING, [{"normals": np.zeros((HEIGHT, WIDTH, 3), np.float32)}], "pixels are unknown"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_to_learn_stops_with_the_reason(tmp_path, capsys, task, labels, message, split):
    fine = {
        KIND: of_classes(0, 1, 2), PARTS: [seg(0, 1, 2)] * 2, FAR: [depth([1, 2])],
        RELATIVE: [depth([1, 2])], THINGS: [objects(BIG)],
        FACING: [{"normals": np.full((HEIGHT, WIDTH, 3), (0, 0, -1), np.float32)}],
    }[task]  # fmt: skip
    train, others = (labels, fine) if split == "train" else (fine, labels)
    with pytest.raises(UserError) as error:
        warnings_of(tmp_path, capsys, recipe(task, train, others=others))
    text = str(error.value)
    first = "train" if split == "train" else "validation"
    assert f"({first} of teacher 'mine'): nothing to learn for head '{task.name}'" in text
    assert message in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "labels", "messages"),
    [
        (KIND, of_classes(0, 1, 2), []),
        # The folder of all classes' folders, one level too high.
        (ONE_KIND, [stored.class_label(0, 1)], ["only class is 'images', so there is nothing"]),
        (ONE_PART, [seg(0, 255)], ["only class is 'road', so there is nothing to tell apart"]),
        (KIND, of_classes(0, 1, 1), ["1 of 3 classes have no usable image (cow)"]),
        (KIND, of_classes(1, 1), ["(cat, cow) in all 2 images; every image is of 'dog'"]),
        (THINGS, [objects(BIG, BIG, BIG, classes=[0, 1, 2])], []),
        (
            THINGS,
            [objects(BIG, BIG, SMALL, classes=[0, 1, 2])],
            ["all objects of cow are lost at 64 px", "1 of 3 objects are smaller than one pixel"],
        ),
        (
            THINGS,
            [objects(*[BIG] * 6, classes=[0, 1, 2] * 2, ignore=[False] * 3 + [True] * 3)],
            ["3 of 6 objects are ignored"],
        ),
        # As many difficult objects as VOC has.
        (THINGS, [objects(*[BIG] * 4, classes=[0, 1, 2, 2], ignore=[False] * 3 + [True])], []),
        (PARTS, [seg(0, 1, 2)], []),
        (PARTS, [seg(0, 1)], ["1 of 3 classes have no usable pixel (cow)"]),
        # 255 beside several classes is what nobody labeled, as in VOC.
        (PARTS, [seg(0, 1, 255)], ["1 of 3 classes have no usable pixel (cow) in the one"]),
        # A binary mask of 0 and 255, whose second class is nobody's.
        (PARTS, [seg(0, 255)], ["(dog, cow) in the one image; 0.5 of the pixels are"]),
        (FAR, [depth([0, 2])], []),
        (FAR, [depth([0, 2]), depth(0)], ["1 of 2 labeled images have nothing to learn"]),
    ],
)
def test_what_cannot_be_learned_is_reported(tmp_path, capsys, task, labels, messages):
    lines = warnings_of(tmp_path, capsys, recipe(task, labels))
    assert len(lines) == len(messages), lines
    for message in messages:
        assert any(message in line for line in lines), lines
    for line in lines:
        assert line.startswith(
            f"warning: teacher 'mine' (train, validation, test), head '{task.name}': "
        )


def test_what_an_augmentation_enlarges_is_not_lost_to_training(tmp_path, capsys):
    labels = [objects(SMALL, SMALL, SMALL, classes=[0, 1, 2])]
    whole = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    assert (
        warnings_of(tmp_path, capsys, recipe(THINGS, labels, others=whole, scale=(0.5, 2.0))) == []
    )
    with pytest.raises(UserError, match="train of teacher"):
        warnings_of(tmp_path, capsys, recipe(THINGS, labels, others=whole, scale=(0.5, 1.0)))


def test_a_class_is_looked_for_among_all_labels():
    """The rare class is in one of 300 images: a report that it is missing would be wrong."""
    source = Given(KIND, of_classes(*[0, 1] * 149, 0, 2))
    contents = LabelContents(KIND, size=64, scale=1.0, num_images=300)
    search(contents, LabeledExamples(source, [KIND]), source, ())
    assert contents.missing_classes == [] and contents.shortcomings() == []
    assert len(source.labels_read) > 20


def test_the_search_ends(monkeypatch):
    source = Given(KIND, of_classes(*[0, 1] * 50))
    contents = LabelContents(KIND, size=64, scale=1.0, num_images=100)
    monkeypatch.setattr("must_keras.runs.label_contents._MAX_LABELS", 30)
    search(contents, LabeledExamples(source, [KIND]), source, ())
    assert contents.read == 30
    (text,) = contents.shortcomings()
    assert "(cow) in the 30 of 100 images that were read; the others may have some" in text


@pytest.mark.parametrize(
    ("labels", "is_error"),
    [
        # Defects are rare: one image of thousands has an object, perhaps one that was not read.
        ([objects()] * 300, False),
        ([None] * 300, False),
        ([objects(SMALL)] * 3 + [objects()] * 297, False),
        # What is lost in so many images is lost in the others, too.
        ([objects(SMALL)] * 300, True),
    ],
)
def test_what_was_not_read_may_have_something_to_learn(
    tmp_path, capsys, monkeypatch, labels, is_error
):
    monkeypatch.setattr("must_keras.runs.label_contents._MAX_SECONDS_EMPTY", 0.0)
    monkeypatch.setattr("must_keras.runs.label_contents._ENOUGH_LOST", 6)
    others = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    if is_error:
        with pytest.raises(UserError, match="nothing to learn"):
            warnings_of(tmp_path, capsys, recipe(THINGS, labels, others=others))
        return
    (line,) = warnings_of(tmp_path, capsys, recipe(THINGS, labels, others=others))
    assert "(train), head 'things': " in line and "8 of 300 images" in line


def test_a_rare_object_is_looked_for_until_it_is_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("must_keras.runs.label_contents._MAX_LABELS", 10)
    labels = [objects()] * 200
    labels[117] = objects(BIG, BIG, BIG, classes=[0, 1, 2])
    assert warnings_of(tmp_path, capsys, recipe(THINGS, labels, others=labels[117:118])) == []


WRONG_LABELS = [
    ({"things": {"boxs": np.zeros((1, 4))}}, "things.* has boxs, expected the parts boxes"),
    ({"things": np.zeros((1, 4))}, "has a ndarray, expected the parts boxes"),
    ({"things": None}, "has a NoneType, expected the parts boxes"),
    ({"things": objects() | {"boxes": np.zeros((1, 5))}}, r"'boxes' of the shape \(1, 5\)"),
    ({"thinks": objects()}, "labels things, not 'thinks'; did you mean 'things'"),
    (objects(), "labels things, not 'boxes'"),
    (None, "its labels are a NoneType"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG_LABELS)
def test_labels_of_another_form_are_named(tmp_path, wrong, message):
    class Odd(Given):
        def labels(self, index):
            return wrong

    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    given = recipe(THINGS, fine)
    sets = dataclasses.replace(given.teachers[0].sets, train=Odd(THINGS, fine, name="odd"))
    teacher = dataclasses.replace(given.teachers[0], sets=sets)
    given = dataclasses.replace(given, teachers=(teacher,))
    with pytest.raises(UserError, match=f"source 'odd', image '0.png': .*{message}"):
        preflight.check_data(Run(recipe=given, path=tmp_path / "run"))


def test_a_pools_own_labels_are_counted(tmp_path, capsys):
    lost = Pool(source=Given(THINGS, [objects(SMALL), None], name="pool"))
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    with pytest.raises(UserError, match="pool 'pool': nothing to learn for head 'things'"):
        warnings_of(tmp_path, capsys, recipe(THINGS, fine, pools=(lost,)))
    # A pool without any label of its own is labeled by teachers.
    unlabeled = Pool(source=Given(THINGS, [None]))
    (line,) = warnings_of(tmp_path, capsys, recipe(THINGS, fine, pools=(unlabeled,)))
    assert "pool 'given', head 'things': the one image has no label for the head" in line


def test_a_pool_is_not_read_again_where_the_student_is_begun(tmp_path):
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    pool = Given(THINGS, [None], name="pool")
    given = recipe(THINGS, fine, pools=(Pool(source=pool),))
    run = Run(recipe=given, path=tmp_path / "run")
    run.student.begin()
    preflight.check_data(run)
    assert not pool.images_read and not pool.labels_read


@pytest.mark.parametrize("is_method", [True, False])
def test_a_backbone_is_called_twice_before_a_head_needs_it(tmp_path, is_method):
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    given = recipe(THINGS, fine, pools=(Pool(source=Given(THINGS, fine, name="pool")),))
    given = dataclasses.replace(given, network=Network(backbone=OnlyOnce(), size=64, channels=8))
    preflight._check_self_labeled(Run(recipe=given, path=tmp_path / "run"))
    heads = (SelfLabeled(task=Rotation(), loss_weight=1.0),)
    if is_method:
        method = SelfLabeling(name="pretext", training=training(1), tasks=heads)
        given = dataclasses.replace(given, selfsup=(method,), starts=("random", "pretext"))
    else:
        student = dataclasses.replace(given.student, self_labeled=heads)
        given = dataclasses.replace(given, student=student)
    run = Run(recipe=given, path=tmp_path / "run")
    with pytest.raises(UserError, match="OnlyOnce cannot be called for a second stream"):
        preflight._check_self_labeled(run)
    (run.self_supervised("pretext") if is_method else run.student).begin()
    preflight._check_self_labeled(run)


@pytest.mark.parametrize("union", [True, False])
def test_a_share_of_ground_truth_needs_images_of_both_kinds(tmp_path, union):
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    given = recipe(THINGS, fine, pools=(Pool(source=Given(THINGS, fine, name="pool")),))

    def check(given, **values):
        student = dataclasses.replace(given.student, union=union, **values)
        asked = dataclasses.replace(given, student=student)
        preflight.check_data(Run(recipe=asked, path=tmp_path / "run"))

    check(given)
    with pytest.raises(UserError, match="ground_truth_share=0.5: every image of the student has"):
        check(given, ground_truth_share=0.5)
    with pytest.raises(
        UserError, match="strong_views: every image of the student has ground truth"
    ):
        check(given, strong_views=StrongViews())
    with_pool = recipe(THINGS, fine)
    check(with_pool, strong_views=StrongViews())
    if union:
        check(with_pool, ground_truth_share=0.5)
    else:
        with pytest.raises(UserError, match="no image of the student has ground truth; remove it"):
            check(with_pool, ground_truth_share=0.5)


@pytest.mark.parametrize("field", ["source", "truth"])
def test_labels_of_a_head_that_nobody_has_are_reported(tmp_path, capsys, field):
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    other = Given(Detection(name="animals", classes=CLASSES), fine, name="pool")
    given = {"source": Given(FAR, [None], name="pool")} | {field: other}
    of_pool = recipe(THINGS, fine, pools=(Pool(**given),))
    preflight.check_data(Run(recipe=of_pool, path=tmp_path / "run"))
    assert "pool 'pool' has labels of head 'animals', which are not used" in capsys.readouterr().err


def test_labels_of_a_mistyped_head_are_not_ignored():
    fine = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    other = Detection(name="thinks", classes=CLASSES)
    with pytest.raises(UserError, match="head 'thinks'.*did you mean 'things'"):
        recipe(THINGS, fine, pools=(Pool(source=Given(other, fine, name="pool")),))


@pytest.mark.parametrize(
    ("head", "other"), [("relative_depth", "metric_depth"), ("indoor", "door")]
)
def test_a_head_of_a_similar_name_is_no_mistyped_one(head, other):
    labels = [objects(BIG, BIG, BIG, classes=[0, 1, 2])]
    mine, pools = (Detection(name=name, classes=CLASSES) for name in (head, other))
    recipe(mine, labels, pools=(Pool(source=Given(pools, labels, name="pool")),))


class Damaged(Given):
    """The same, where some images cannot be read."""

    def __init__(self, task, labels, gone):
        super().__init__(task, labels)
        self._gone = gone

    def image(self, index):
        if index in self._gone:
            raise UserError(f"{index}.png cannot be read as a picture")
        return super().image(index)


def test_an_image_that_cannot_be_read_is_skipped_and_many_are_not(tmp_path, capsys):
    labels = of_classes(*[0, 1, 2] * 6)
    fine = Given(KIND, labels)

    def run(*gone):
        source = Damaged(KIND, labels, gone)
        sets = Splits(train=source, validation=fine, test=fine)
        given = recipe(KIND, labels)
        teacher = dataclasses.replace(given.teachers[0], sets=sets)
        given = dataclasses.replace(given, teachers=(teacher,))
        preflight.check_data(Run(recipe=given, path=tmp_path / "run"))
        return capsys.readouterr().err

    err = run(0)
    assert err.count("skipped: 0.png cannot be read") == 1 and "no usable image" not in err
    with pytest.raises(DataError, match="more than max_unreadable"):
        run(*range(18))


def test_anchors_that_do_not_fit_the_boxes_are_reported(tmp_path, capsys):
    # 80 px of the image are 8 of the network's input, the stride of the finest level.
    rows = [(80 * y, 80 * x, 80 * y + 80, 80 * x + 80) for y in range(5) for x in range(8)]
    labels = [objects(*rows, classes=[0, 1, 2, 0] * 10)] * 2
    fine = dataclasses.replace(THINGS, anchor_scales=(1.0,))
    assert warnings_of(tmp_path, capsys, recipe(fine, labels)) == []
    # Too few boxes to judge.
    odd = dataclasses.replace(THINGS, anchor_scales=(4.0,))
    few = [objects(*rows[:20], classes=[0, 1, 2, 0] * 5)]
    assert warnings_of(tmp_path, capsys, recipe(odd, few)) == []
    (line,) = warnings_of(tmp_path, capsys, recipe(odd, labels))
    assert line.startswith(
        "warning: teacher 'mine' (train), head 'things': anchor_scales=(4.0,) do not fit the boxes"
    )
    # A box of 8 px in anchors of 32 px.
    assert "with a box is 0.06 on average, and below 0.3 for 100% of the boxes" in line
    assert "; anchor_scales=(1.0,) reaches 1.00" in line


def test_objects_too_small_for_any_anchor_are_reported(tmp_path, capsys):
    # 3 px of the network's input between its cells, where the smallest anchors lie.
    rows = [
        (80 * y + 65, 80 * x + 65, 80 * y + 95, 80 * x + 95) for y in range(5) for x in range(7)
    ]
    labels = [objects(*rows, classes=[0, 1, 2, 0, 1] * 7)] * 2
    fine = dataclasses.replace(THINGS, anchor_scales=(0.5, 1.0))
    (line,) = warnings_of(tmp_path, capsys, recipe(fine, labels))
    assert "100% of the boxes are smaller than 8 px, the finest stride, at 64 px" in line
    assert "raise the size of the recipe's network" in line
