"""Transfers by every protocol: the same images for all starts, frozen parts, one look at test."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from fakes.random_examples import NETWORK
from fakes.results import finish
from making import make
from must_keras.config.episodes import Episodes
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Transfer
from must_keras.config.transfers import Protocol
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.inference import scoring
from must_keras.inference.external import ExternalModel
from must_keras.ops.sampling import derived_seed
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.tasks import Classification, Normals
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.optimizers import AdamW
from must_keras.transfer.grid import transfer_runs
from must_keras.transfer.trainer import TransferTrainer

KIND = Classification(name="kind", classes=("dark", "light", "never"))
OTHER = Classification(name="other", classes=("dark", "light"))
FACING = Normals(name="facing", channels=8, num_convs=1)
TRAINING = TrainingConfig(steps=3, batch=4, learning_rate=1e-3, optimizer=AdamW(), log_every=1)


class Shades(Source):
    """Dark and light pictures."""

    def __init__(self, name, count, first):
        self.name, self._count, self._first = name, count, first
        self.label_spaces = {"kind": LabelSpace.of(KIND), "facing": LabelSpace.of(FACING)}

    def __len__(self):
        return self._count

    def image_id(self, index):
        return f"{self.name}-{index}"

    def image(self, index):
        random = np.random.default_rng(self._first + index)
        return random.integers(120 * (index % 2), 120 + 120 * (index % 2), (48, 64, 3)).astype(
            "uint8"
        )

    def labels(self, index):
        normals = np.zeros((48, 64, 3), np.float32)
        normals[..., index % 3] = 1.0
        return {
            "kind": {
                "probabilities": np.eye(3, dtype=np.float32)[index % 2],
                "labelled": np.ones((), np.float32),
            },
            "facing": {"normals": normals},
        }

    def describe(self):
        return {"name": self.name, "count": self._count}


SETS = Splits(
    train=Shades("s", 16, 0), validation=Shades("s_v", 12, 100), test=Shades("s_t", 8, 200)
)


def recipe_of(task=KIND, **changes) -> Recipe:
    of_transfer = ("learning_rates", "rates_from")
    given = {key: changes.pop(key) for key in of_transfer if key in changes}
    model = ExternalModel(model=np.asarray, version="1", size=16, form="probabilities")
    values = {
        "name": "transfers",
        "seed": 0,
        "network": NETWORK,
        "teachers": (ExternalTeacher(name="light", task=OTHER, model=model, loss_weight=1.0),),
        "pools": (Pool(source=Shades("pile", 4, 300)),),
        "student": Student(training=TRAINING),
        "transfers": (Transfer(name="shades", task=task, sets=SETS, training=TRAINING, **given),),
        "starts": ("random", "student"),
        "evaluation_batch": 4,
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A model with a pyramid, whose statistics are not those of a new one."""
    model = build_model(NETWORK, [OTHER, FACING], seed=9, **TRAINING.of_model())
    images = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")
    for _ in range(3):
        model.get_layer("backbone")(images, training=True)
    path = tmp_path_factory.mktemp("student") / "model.keras"
    model.save(path)
    return path


def with_student(path, student) -> Run:
    run = Run(recipe=recipe_of(), path=path)
    run.student.begin()
    run.student.model_path.write_bytes(student.read_bytes())
    finish(run.student)
    return run


@pytest.fixture
def run(tmp_path, student) -> Run:
    return with_student(tmp_path / "run", student)


def asking(run, *args, **changes) -> Run:
    """Return the same run with another recipe."""
    return dataclasses.replace(run, recipe=recipe_of(*args, **changes))


def all_of(run) -> list:
    return list(transfer_runs(run, run.recipe.transfers[0]))


def rows(run) -> list[dict]:
    make("transfer", run)
    return [describe(one.read(run).result()) for one in all_of(run)]


def test_full_fine_tuning_on_all_images_depends_on_what_it_always_did(run):
    """So that transfers which were made before there were other protocols stay valid."""
    artifact = all_of(run)[0].artifact(run)
    found = artifact.inputs
    assert set(found) == {
        "version", "start", "made_from", "seed", "network", "task", "sets", "training", "neck",
    }  # fmt: skip
    assert found["version"] == 3 and found["training"] == describe(TRAINING)
    assert artifact.folder.parts[-2:] == ("full-fpn-all", "seed0")
    one_rate = asking(run, learning_rates=(1e-3,))
    assert all_of(one_rate)[0].artifact(one_rate).inputs == found


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "frozen"},
        {"shots": (5,)},
        {"samples": (5,)},
        {"learning_rates": (1e-3, 1e-2)},
        {"seed": 1},
    ],
    ids=str,
)
def test_what_is_used_is_depended_on(run, changes):
    other = asking(run, **changes)
    assert all_of(run)[0].artifact(run).inputs != all_of(other)[0].artifact(other).inputs


def episodes_of(run, **changes) -> Run:
    rules = Episodes(ways=2, queries=2, count=8, learner="centroid")
    return asking(run, mode="episodes", episodes=rules, **({"shots": (1,)} | changes))


def test_a_set_is_drawn_into_the_same_episodes_for_all_starts(run):
    found = rows(episodes_of(run, shots=(1, 2)))
    assert [(row["start"], row["shots"]) for row in found] == [
        (start, shots) for shots in (1, 2) for start in ("random", "student")
    ]
    # Its features tell dark from light images.
    trained = found[1]
    assert (trained["metric"], trained["value"], trained["trivial"]) == ("top1", 1.0, 0.5)
    assert (trained["images"], trained["steps"], trained["copied"]) == (2, 0, ["backbone"])
    assert trained["episodes"] == {
        "count": 8, "ways": 2, "queries": 2, "learner": "centroid", "low": 1.0, "high": 1.0,
    }  # fmt: skip
    assert found[0]["copied"] == [] and found[0]["episodes"]["low"] < found[0]["value"]


def test_what_episodes_cannot_have_is_refused(run):
    with pytest.raises(UserError, match=r"shots=None: mode='episodes' needs"):
        episodes_of(run, shots=(None,))
    with pytest.raises(UserError, match=r"samples=4: .* takes shots of each class; remove samples"):
        episodes_of(run, samples=(4,))
    with pytest.raises(UserError, match=r"transfer 'shades': .* the normals task 'facing' has 1"):
        asking(run, FACING, mode="episodes", shots=(1,))
    with pytest.raises(UserError, match=r"'shades': learning_rates=.* no learning rate to choose"):
        episodes_of(run, learning_rates=(0.1, 0.01))


def test_fresh_weights_belong_to_run_set_and_seed(run):
    """As they always did: complete transfers are what would be made again."""
    run = asking(run, transfer_seeds=2)
    of_set = TransferTrainer(run, run.recipe.transfers[0])
    numbers = [of_set._number(one) for one in all_of(run)]
    seeds = [derived_seed(0, "transfer", "shades", str(k)) for k in (0, 0, 1, 1)]
    assert numbers == seeds


def test_all_starts_see_the_same_few_images_and_no_more_for_choosing(run):
    run = asking(run, shots=(2, 3, None), transfer_seeds=2)
    of_set = TransferTrainer(run, run.recipe.transfers[0])
    found: dict = {}
    for one in all_of(run):
        sets = of_set._scorer_of(one).sets
        ids = tuple(
            frozenset(part.image_id(i) for i in range(len(part)))
            for part in (sets.train, sets.validation, sets.test)
        )
        found.setdefault((one.protocol.shots, one.seed), set()).add(ids)
    assert all(len(of_starts) == 1 for of_starts in found.values())
    sizes = {key: [len(part) for part in next(iter(ids))] for key, ids in found.items()}
    assert sizes == {(s, k): [2 * s, 2 * s, 8] for s in (2, 3) for k in (0, 1)} | {
        (None, k): [16, 12, 8] for k in (0, 1)
    }
    for seed in (0, 1):
        (few, more) = (next(iter(found[shots, seed])) for shots in (2, 3))
        assert few[0] < more[0] and few[1] < more[1]
    assert found[2, 0] != found[2, 1]


def test_samples_in_all_are_the_same_for_all_starts_and_nested(run):
    run = asking(run, samples=(3, 7), shots=(None,), transfer_seeds=2)
    of_set = TransferTrainer(run, run.recipe.transfers[0])
    found: dict = {}
    for one in all_of(run):
        sets = of_set._scorer_of(one).sets
        ids = tuple(
            frozenset(part.image_id(i) for i in range(len(part)))
            for part in (sets.train, sets.validation)
        )
        found.setdefault((one.protocol.samples, one.seed), set()).add(ids)
    assert list(found) == [(n, k) for n in (3, 7, None) for k in (0, 1)]
    assert all(len(of_starts) == 1 for of_starts in found.values())
    for seed in (0, 1):
        few, more, every = (next(iter(found[n, seed])) for n in (3, 7, None))
        assert [tuple(map(len, sizes)) for sizes in (few, more, every)] == [
            (3, 3),
            (7, 7),
            (16, 12),
        ]
        assert few[0] < more[0] < every[0] and few[1] < more[1] < every[1]
    assert found[3, 0] != found[3, 1]


class Partly(Shades):
    """Every other image has no label."""

    def labels(self, index):
        return super().labels(index) if index % 2 else {}


def test_more_samples_than_labeled_images_are_refused(run):
    with pytest.raises(UserError, match=r"'shades': samples=17: .* has 16 labeled images; lower"):
        asking(run, samples=(17,))
    partly = dataclasses.replace(SETS, train=Partly("s", 16, 0))
    transfer = dataclasses.replace(run.recipe.transfers[0], sets=partly)
    run = asking(run, samples=(8, 9), shots=(), transfers=(transfer,))
    of_set = TransferTrainer(run, transfer)
    enough, *_, too_many = all_of(run)
    assert len(of_set._scorer_of(enough).sets.train) == 8
    with pytest.raises(UserError, match=r"'shades': samples=9: .* has 8 labeled images"):
        of_set._scorer_of(too_many)


def test_the_sweep_looks_at_validation_and_once_at_test(run, monkeypatch):
    looks, score = [], scoring.Scorer.score

    def counted(self, predictor, *, splits, **kwargs):
        looks.extend((split, len(getattr(self.sets, split))) for split in splits)
        score(self, predictor, splits=splits, **kwargs)
        # The second rate is the better one, whatever test says.
        values = {"validation": (0.2, 0.6, 0.4)[(len(looks) - 1) % 4 % 3], "test": 0.1}
        return {"top1": values[splits[-1]]}

    monkeypatch.setattr(scoring.Scorer, "score", counted)
    found = rows(asking(run, learning_rates=(1e-4, 1e-3, 1e-2), shots=(2,), transfer_seeds=2))
    # Three rates of seed 0 from both starts; then seed 1 with what was chosen.
    of_seed_0 = [("validation", 4)] * 3 + [("test", 8)]
    assert looks == of_seed_0 * 2 + [("test", 8)] * 2
    assert [row["learning_rate"] for row in found] == [1e-3] * 4
    assert [len(row.get("sweep", ())) for row in found] == [3, 3, 0, 0]
    assert found[0]["validation_images"] == 4 and found[0]["images"] == 4
    folder = run.transfer("shades", "student", "full-fpn-2", 0).folder
    assert sorted(p.name for p in (folder / "sweep").iterdir()) == ["0.0001", "0.001", "0.01"]
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["test"]


def test_learning_rates_that_another_run_chose_are_taken(run, tmp_path, monkeypatch):
    looks = []

    def counted(self, predictor, *, splits, **kwargs):
        looks.extend(splits)
        return {"top1": 0.5}

    monkeypatch.setattr(scoring.Scorer, "score", counted)
    other = Run(recipe=recipe_of(), path=tmp_path / "other")
    chosen = {"random": 2e-3, "student": 3e-3}
    for start, rate in chosen.items():
        artifact = other.transfer("shades", start, "full-fpn-all", 0)
        artifact.begin()
        finish(artifact, learning_rate=rate)
    (other.path / "run.json").write_text("{}")
    values = {"learning_rates": (1e-3, 2e-3, 3e-3), "rates_from": str(other.path)}
    found = rows(asking(run, **values, transfer_seeds=2))
    assert [row["learning_rate"] for row in found] == list(chosen.values()) * 2
    assert looks == ["test"] * 4
    once = asking(run, **values)
    assert all_of(once)[0].artifact(once).inputs["rates_from"] == 2e-3
    (other.transfer("shades", "random", "full-fpn-all", 0).folder / "finished.json").unlink()
    fresh = Run(recipe=recipe_of(**values, starts=("random",)), path=tmp_path / "fresh")
    with pytest.raises(UserError, match="other/.*/random/full-fpn-all/seed0 is not complete"):
        rows(fresh)
    with pytest.raises(UserError, match="is no folder of a run"):
        recipe_of(**values | {"rates_from": str(tmp_path / "nothing")})
    with pytest.raises(UserError, match="needs learning_rates"):
        recipe_of(rates_from="runs/x")


@pytest.mark.slow
def test_a_sweep_gives_the_model_of_the_rate_that_it_chose(run, student, tmp_path):
    """Its metrics on test are those of a transfer with that rate alone."""
    swept = rows(asking(run, learning_rates=(1e-2, 1e-3), starts=("student",)))[0]
    plain, rate = with_student(tmp_path / "plain", student), swept["learning_rate"]
    alone = rows(asking(plain, learning_rates=(rate,), starts=("student",)))[0]
    assert alone["metrics"] == swept["metrics"] and alone["learning_rate"] == rate


@pytest.mark.slow
@pytest.mark.parametrize("task", [pytest.param(KIND, id="kind"), pytest.param(FACING, id="facing")])
def test_frozen_transfers_of_every_start(run, task, monkeypatch):
    kept = {}
    train = TransferTrainer.run

    def watched(self, one, artifact, trained):
        train(self, one, artifact, trained)
        name = one.start.name
        (network,) = [n for (p, _), n in self._networks.items() if p == parts[name]]
        kept[name] = network.whole.get_layer("backbone").get_weights()

    both = ("backbone", "neck") if task is FACING else ("backbone",)
    parts = {"random": ("backbone",), "student": both}
    monkeypatch.setattr(TransferTrainer, "run", watched)
    found = rows(asking(run, task, mode="frozen"))
    assert [(r["start"], r["mode"], r["copied"]) for r in found] == [
        ("random", "frozen", []), ("student", "frozen", list(both)),
    ]  # fmt: skip
    theirs = keras.saving.load_model(run.student.model_path).get_layer("backbone").get_weights()
    for a, b in zip(kept["student"], theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    number = derived_seed(0, "transfer", "shades", "0")
    fresh = build_model(NETWORK, [task], seed=number, **TRAINING.of_model()).get_layer("backbone")
    same = [np.array_equal(a, b) for a, b in zip(kept["random"], fresh.get_weights(), strict=True)]
    # Random weights stay; their statistics were estimated.
    names = [w.path.split("/")[-1] for w in fresh.weights]
    for name, is_same in zip(names, same, strict=True):
        assert is_same == (not name.startswith("moving_")), name
    assert run.transfer("shades", "student", "frozen-fpn-all", 0).is_there


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "half"}, "mode='half'"),
        ({"shots": (0,)}, "shots=0: at least 1"),
        ({"shots": (5, 5)}, "different numbers"),
        ({"shots": ()}, "at least one"),
        ({"shots": 5}, "shots is no tuple"),
        ({"samples": (0,)}, "samples=0: at least 1"),
        ({"samples": (5, 5)}, "samples=.*different numbers"),
        ({"samples": ("5",)}, "samples"),
        ({"learning_rates": (1e-3, 1e-3)}, "different ones"),
        ({"learning_rates": (0.0,)}, "positive"),
    ],
)
def test_protocols_that_make_no_sense_are_errors(changes, words):
    with pytest.raises(UserError, match=words):
        recipe = recipe_of(**changes)
        assert recipe.protocols


def test_a_protocol_names_its_folder():
    assert str(Protocol()) == "full-fpn-all" and Protocol().differs() == {}
    other = dataclasses.replace(Protocol(), mode="frozen", neck="backbone", shots=10)
    assert str(other) == "frozen-backbone-10" and other.differs() == {"mode": "frozen", "shots": 10}
    assert Protocol(neck="backbone").differs() == {}
    some = Protocol(samples=100)
    assert str(some) == "full-fpn-100samples" and some.differs() == {"samples": 100}
    with pytest.raises(UserError, match="samples=100: shots=5 of each class exclude"):
        Protocol(shots=5, samples=100)
