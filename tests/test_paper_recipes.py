"""experiments/must_*.py on tiny sets that lie and look as the real ones do."""

import inspect
import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from fakes import public_datasets
from making import make
from must_keras import experiment
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, PseudoLabels
from must_keras.data.sources import TolerantSource
from must_keras.errors import UserError
from must_keras.modeling.backbone import ResNet
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.training.building import build_model
from must_keras.training.initialization import FromCheckpoint
from must_keras.training.input_pipeline import InputPipeline

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = ("must_imagenet", "must_cross_dataset", "must_strong_checkpoint")
TINY = {
    "size": "64", "heads": "narrow", "batch": "4", "evaluation_batch": "4",
    "precision": "float32", "depth_size": f"{public_datasets.DEPTH_SIZE}",
    "classification_steps": "2", "detection_steps": "2", "segmentation_steps": "2",
    "student_steps": "2", "transfer_steps": "2", "learning_rates": "0.01",
}  # fmt: skip
DOWNSTREAM = ("cifar100", "voc_boxes", "voc_maps", "nyu_depth", "ade20k", "diode_normals")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    public_datasets.tfds_sets(home / "tfds")
    public_datasets.folders(home / "data")
    public_datasets.midas(home / "midas.keras")
    ResNet.small().build((64, 64), {}).save(home / "strong.keras")
    return home


def arguments(name, home, **changes):
    """Texts, as a command has them."""
    given = {"data": str(home / "data"), "depth_model": str(home / "midas.keras")}
    if name == "must_strong_checkpoint":
        given |= {"checkpoint": str(home / "strong.keras"), "backbone": "named"}
    else:
        given |= {"backbone": "small"}
    return TINY | given | changes


def load(name, home, **changes):
    given = arguments(name, home, **changes)
    return experiment.load(name, given, data_dir=str(home / "tfds"))


@pytest.fixture(scope="module")
def labels_of_midas(home, tmp_path_factory):
    """The pseudo labels of ImageNet by MiDaS: {source: {head: labels}}."""
    recipe = load("must_imagenet", home)
    run = Run(recipe=recipe, path=tmp_path_factory.mktemp("run"))
    make("teacher", run, only=("midas",))
    make("label", run, only=("midas",))
    (pool,) = recipe.pools
    midas = next(item for item in recipe.teachers if item.name == "midas")
    reader = PseudoLabelReader(run.labels("midas", "imagenet").folder, pool.source, midas.task)
    return {"imagenet": {"depth": PseudoLabels(reader=reader, threshold=None)}}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_takes_a_step(name, home, labels_of_midas):
    recipe = load(name, home, batch="12")
    parts = [
        LabeledExamples(TolerantSource(source), recipe.tasks, labels_of_midas.get(source.name))
        for source in recipe.student_sources
    ]
    training, weights = recipe.student.training, recipe.loss_weights()
    model = build_model(
        recipe.network,
        recipe.tasks,
        seed=0,
        loss_weights={head: weight.value for head, weight in weights.items()},
        **training.of_model(),
    )
    recipe.student.start.apply(model, recipe.network)
    training.compile(model)
    # An eager step: tracing one takes longer than ten of them.
    model.run_eagerly = True
    before = [weight.numpy() for weight in model.trainable_weights]
    feed = InputPipeline(
        ConcatenatedExamples(parts), recipe.tasks, training, size=recipe.network.size, seed=0
    )
    losses = model.train_on_batch(*feed.batch_of(0), return_dict=True)
    assert losses.keys() >= {f"{task.name}_loss" for task in recipe.tasks}
    assert all(np.isfinite(float(value)) for value in losses.values())
    assert float(losses["classes_loss"]) > 1 and float(losses["depth_loss"]) > 0
    labeled = {head for part in parts for head in part.source.label_spaces}
    for head in ("boxes", "segments"):
        assert (float(losses[f"{head}_loss"]) > 0) == (head in labeled)
    moved = [np.any(a != b.numpy()) for a, b in zip(before, model.trainable_weights, strict=True)]
    assert np.mean(moved) > 0.5
    assert all(np.isfinite(weight.numpy()).all() for weight in model.trainable_weights)


def test_what_the_students_see(home):
    one, all_, strong = (load(name, home) for name in NAMES)
    assert [s.name for s in one.student_sources] == ["imagenet"]
    assert [s.name for s in strong.student_sources] == ["imagenet"]
    assert [s.name for s in all_.student_sources] == ["imagenet", "objects365", "coco"]
    for recipe in (one, all_, strong):
        assert [t.name for t in recipe.teachers] == ["imagenet", "objects365", "coco", "midas"]
        assert {t.name for t in recipe.transfers} == set(DOWNSTREAM)
        # True labels are never labeled again.
        for item in recipe.trained_teachers:
            names = [s.name for s in recipe.sources_labeled_by(item)]
            assert item.name not in names
        heads = {task.name: task for task in recipe.tasks}
        assert heads["depth"].kind == "relative_inverse" and not heads["boxes"].with_masks
        assert len(heads["classes"].classes) == 1000 and len(heads["boxes"].classes) == 365
        thresholds = {t.name: t.threshold for t in recipe.teachers}
        assert thresholds == {"imagenet": None, "objects365": 0.5, "coco": 0.5, "midas": None}


def test_an_image_is_never_in_two_parts(home):
    recipe = load("must_cross_dataset", home)
    for item in (*recipe.trained_teachers, *recipe.transfers):
        ids = [
            {source.image_id(i) for i in range(len(source))}
            for source in (item.sets.train, item.sets.validation)
        ]
        assert ids[0] and ids[1] and not ids[0] & ids[1]


@pytest.mark.parametrize("batch", ["none", "8"])
def test_loss_weights_follow_the_formula_at_every_batch(batch, home):
    """(b_s lr_t) / (b_t lr_s): 256 x 1.6 / (4096 x 0.32), 1, and 0.08 / 0.32."""
    weights = load("must_imagenet", home, batch=batch).loss_weights()
    values = {head: weight.value for head, weight in weights.items()}
    expected = {"classes": 0.3125, "boxes": 1.0, "segments": 0.25, "depth": 1.0}
    assert values == pytest.approx(expected)
    assert weights["depth"].source == "given" and weights["boxes"].source == "formula"
    given = load("must_imagenet", home, depth_weight="0.3").loss_weights()
    assert given["depth"].value == 0.3


def test_schedules_are_the_published_ones_unless_a_batch_is_given(home):
    recipe = load("must_imagenet", home, batch="none", heads="published", backbone="resnet152")
    runs = {t.name: t.training for t in recipe.trained_teachers}
    # Ten times the penalty in the loss, since momentum does not gather it here.
    found = {
        n: (r.batch, r.learning_rate, pytest.approx(r.optimizer.weight_decay / 10))
        for n, r in runs.items()
    }
    assert found == {
        "imagenet": (4096, 1.6, 1e-4), "objects365": (256, 0.32, 4e-5), "coco": (256, 0.08, 1e-5),
    }  # fmt: skip
    assert recipe.network.backbone == ResNet.of_depth(152) and recipe.network.channels == 256
    heads = {task.name: task for task in recipe.tasks}
    assert (heads["boxes"].num_regions, heads["boxes"].box_channels) == (512, 256)
    assert heads["segments"].channels == 256 and heads["segments"].num_convs == 3
    small = load("must_imagenet", home, batch="8", learning_rates="")
    assert small.student.training.learning_rate == pytest.approx(0.32 * 8 / 256)
    rates = small.transfers[0].rates
    assert rates == pytest.approx([0.02 * 8 / 256, 0.08 * 8 / 256, 0.32 * 8 / 256])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "expected"), [("none", 256), ("1024", 256), ("8", 8)])
def test_every_baseline_draws_as_many_images_as_the_student(name, batch, expected, home):
    recipe = load(name, home, batch=batch, student_steps="6", starts="student+supervised+simclr")
    seen = recipe.student.training.images_seen
    assert recipe.supervised.images_seen == seen
    assert [method.name for method in recipe.selfsup] == ["simclr", "moco"]
    for method in recipe.selfsup:
        assert method.training.images_seen == seen and method.training.batch == expected
        assert method.training.learning_rate == pytest.approx(0.03 * expected / 256)
        assert method.start == recipe.student.start
    assert recipe.neck == "backbone"


@pytest.mark.parametrize("name", NAMES)
def test_transfers_have_other_protocols_and_take_the_choice_of_another_run(name, home, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    changes = {"mode": "frozen", "neck": "fpn", "shots": "10+none", "learning_rates": "0.01+0.1"}
    recipe = load(name, home, rates_from=str(tmp_path), **changes)
    assert [str(protocol) for protocol in recipe.protocols] == ["frozen-fpn-10", "frozen-fpn-all"]
    assert {t.rates_from for t in recipe.transfers} == {str(tmp_path)}


def test_alignment_says_what_starts_have_learned(home):
    recipe = load("must_strong_checkpoint", home)
    found = {t.name: recipe.alignment(t, "checkpoint") for t in recipe.transfers}
    assert found.pop("cifar100") == "task" and set(found.values()) == {"none"}
    found = {t.name: recipe.alignment(t, "student") for t in recipe.transfers}
    assert found.pop("diode_normals") == "none" and set(found.values()) == {"task"}
    # What learned no classes knows those of the checkpoint that it began with; nobody has true depth.
    cifar100 = next(t for t in recipe.transfers if t.name == "cifar100")
    nyu_depth = next(t for t in recipe.transfers if t.name == "nyu_depth")
    assert [recipe.alignment(cifar100, start) for start in ("simclr", "random")] == ["task", "none"]
    assert recipe.alignment(nyu_depth, "supervised") == "none"
    assert recipe.alignment(cifar100, "supervised") == "task"
    other = load("must_strong_checkpoint", home, checkpoint_kind="other")
    assert {other.alignment(t, "checkpoint") for t in other.transfers} == {"none"}
    assert isinstance(other.student.start, FromCheckpoint)


def test_masks_of_coco_are_a_fifth_head(home):
    recipe = load("must_cross_dataset", home, instances="true")
    assert [task.name for task in recipe.tasks][3] == "instances" and recipe.tasks[3].with_masks
    pools = {pool.source.name: pool.source for pool in recipe.pools}
    assert set(pools["coco"].label_spaces) == {"segments", "instances"}


def test_what_is_not_asked_for_needs_no_files(home):
    recipe = load("must_imagenet", home, transfer_names="cifar100")
    assert [t.name for t in recipe.transfers] == ["cifar100"]
    with pytest.raises(UserError, match="transfer_names=cifar: did you mean 'cifar100'"):
        load("must_imagenet", home, transfer_names="cifar")
    with pytest.raises(UserError, match="there is no folder"):
        load("must_imagenet", home, data=str(home / "elsewhere"))


def test_shared_modules_are_no_recipes():
    with pytest.raises(UserError) as error:
        experiment.find("paper")
    assert "must_imagenet" in str(error.value) and "setting" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_gives_a_command_that_is_one(name, home):
    text = (ROOT / "experiments" / f"{name}.py").read_text()
    command = text.split("--experiment=")[1].replace("\\\n", "").split()[0]
    found, given = experiment.parse(command)
    assert found == name and given.keys() <= arguments(name, home).keys()
    for key in given:
        others = {k: v for k, v in arguments(name, home).items() if k != key}
        with pytest.raises(UserError, match=f"{key} must be given, as in {name}.py:{key}=..."):
            experiment.load(name, others, data_dir=str(home / "tfds"))


def test_the_hours_are_what_the_arithmetic_gives():
    text = (ROOT / "experiments" / "must_imagenet.py").read_text()
    rows = re.findall(
        r"^ +(\w+) +([\d,]+) x ([\d,]+) +([\d.]+) +(\d+) h +([\d.]+) +(\d+) h$", text, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["classes", "boxes", "maps", "student", "transfers"]
    steps = {}
    for name, count, batch, *costs in rows:
        steps[name], size = (int(number.replace(",", "")) for number in (count, batch))
        for tflop, hours in (costs[:2], costs[2:]):
            assert int(hours) == round(steps[name] * size * 3 * float(tflop) / 400 / 3600)
    defaults = inspect.signature(experiment._function(experiment.find("must_imagenet")))
    given = {name: parameter.default for name, parameter in defaults.parameters.items()}
    assert steps["classes"] == given["classification_steps"]
    assert steps["boxes"] == given["detection_steps"]
    assert steps["maps"] == given["segmentation_steps"]
    assert steps["student"] == given["student_steps"]
    assert steps["transfers"] == 6 * len(given["starts"]) * 3 * given["transfer_steps"]


# ---- slow ----------------------------------------------------------------------------------------


METRICS = dict(
    zip(DOWNSTREAM, ("top1", "box_ap50", "miou", "delta1", "miou", "within_11"), strict=True)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("must_imagenet", {"starts": "random+student+simclr+moco"}),
        (
            "must_cross_dataset",
            {
                "starts": "random+student+supervised",
                "instances": "true",
                "transfer_names": "voc_maps+diode_normals",
            },
        ),
        (
            "must_strong_checkpoint",
            {"starts": "random+checkpoint+student", "transfer_names": "cifar100+nyu_depth"},
        ),
    ],
)
def test_a_recipe_goes_through_every_stage(name, more, home, tmp_path):
    given = ",".join(f"{k}={v}" for k, v in arguments(name, home, **more).items())

    def run(*flags):
        answer = subprocess.run(
            [
                sys.executable, "-m", "must_keras.main", f"--experiment={name}:{given}",
                f"--data_dir={home / 'tfds'}", f"--workdir={tmp_path / 'run'}", *flags,
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr[-3000:]
        return answer.stdout

    run()
    check_report(json.loads((tmp_path / "run" / "report.json").read_text()), name, more)
    assert "all stages are complete" in run("--stage=status")


def check_report(report, name, more):
    """All teachers, columns, heads and transfers that the recipe names are there."""
    heads, pools = {"classes", "boxes", "segments", "depth"}, {"imagenet"}
    own = {"imagenet": "imagenet", "objects365": "objects365", "coco": "coco", "midas": None}
    if name == "must_cross_dataset":
        heads, pools = heads | {"instances"}, pools | {"objects365", "coco"}
        own["coco_instances"] = "coco"
    assert report["teachers"].keys() == own.keys() and report["student"]["tasks"].keys() == heads
    # Every set is labeled by all teachers but the one that learned from it.
    columns = {(t, pool) for t, found in report["labels"].items() for pool in found}
    assert columns == {(t, pool) for t in own for pool in pools if pool != own[t]}
    rows, sets = report["transfers"], more.get("transfer_names", "+".join(DOWNSTREAM)).split("+")
    starts = more["starts"].split("+")
    assert {(r["set"], r["start"]) for r in rows} == {(s, t) for s in sets for t in starts}
    assert {r["set"]: r["metric"] for r in rows} == {name: METRICS[name] for name in sets}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_networks_of_keras_applications_are_strong_checkpoints(name, home, tmp_path):
    """C2 to C5 of the recipe's network are the stages of Keras' own, prepared as Keras does."""
    kind = {"resnet50": keras.applications.ResNet50, "resnet152": keras.applications.ResNet152}
    theirs = kind[name](weights=None)
    path = tmp_path / "theirs.keras"
    theirs.save(path)
    recipe = load("must_strong_checkpoint", home, backbone=name, checkpoint=str(path))
    backbone = recipe.network.backbone
    assert isinstance(backbone, KerasBackbone)
    ours = backbone.build((224, 224), {})
    ours.set_weights(backbone.checkpoint())
    images = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    prepared = keras.applications.resnet.preprocess_input(images.copy())
    stages = keras.Model(
        theirs.input, [theirs.get_layer(layer).output for layer in backbone.levels.values()]
    )
    for level, expected in zip(backbone.levels, stages(prepared), strict=True):
        np.testing.assert_allclose(ours(images)[level], expected, rtol=1e-3, atol=1e-4)
