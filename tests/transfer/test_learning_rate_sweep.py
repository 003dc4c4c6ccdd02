"""A learning rate is chosen on validation, every run is kept, and a killed sweep goes on."""

import json

import pytest

from fakes.results import finish
from must_keras.errors import UserError
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import CHECKPOINTS
from must_keras.runs.results import TransferResult
from must_keras.training.diagnostics import NonFiniteLossError
from must_keras.training.loggers import Loggers
from must_keras.transfer.learning_rate_sweep import choose, chosen_rate, tidy


def artifact_in(folder, start="random") -> Artifact:
    return Artifact(folder=folder, find_inputs=lambda: {"start": start}, result_type=TransferResult)


class Trainer:
    """Stands for training: counts steps, and the model is the rate that it was last trained with."""

    def __init__(self, values, *, diverges=(), killed_at=None):
        self.values, self.diverges, self.killed_at = values, diverges, killed_at
        self.model, self.trained, self.asked = None, [], []

    def train(self, artifact, rate):
        folder = artifact.resume() / CHECKPOINTS
        if not folder.is_dir():
            self.trained.append(rate)
            if rate == self.killed_at:
                raise KeyboardInterrupt
            if rate in self.diverges:
                raise NonFiniteLossError("the loss is not finite")
            folder.mkdir(parents=True)
        self.model = rate
        return Loggers(None)

    def validate(self):
        self.asked.append(self.model)
        metric, value = self.values[self.model]
        return {metric: value}

    def choose(self, artifact):
        return choose(artifact, tuple(self.values), train=self.train, validate=self.validate)


def tops(**values):
    return {
        float(rate.replace("r", "").replace("_", ".")): ("top1", v) for rate, v in values.items()
    }


@pytest.mark.parametrize(
    ("values", "best"),
    [
        (tops(r0_1=0.2, r0_2=0.9, r0_3=0.5), 0.2),
        (tops(r0_1=0.5, r0_2=0.5, r0_3=0.4), 0.1),
        (tops(r0_1=None, r0_2=0.0, r0_3=None), 0.2),
        (tops(r0_1=None, r0_2=None, r0_3=None), 0.1),
        ({0.1: ("abs_rel", 0.4), 0.2: ("abs_rel", 0.2), 0.3: ("abs_rel", 0.3)}, 0.2),
    ],
)
def test_the_best_on_validation_is_chosen_and_every_run_is_kept(tmp_path, values, best):
    trainer = Trainer(values)
    rows = trainer.choose(artifact_in(tmp_path / "artifact"))
    assert [row.learning_rate for row in rows if row.chosen] == [best]
    assert [(row.metric, row.value) for row in rows] == list(values.values())
    # Each was trained once and looked at once, and the model is the best one's.
    assert trainer.trained == trainer.asked == list(values) and trainer.model == best


def test_a_rate_that_diverges_is_no_choice(tmp_path, capsys):
    trainer = Trainer(tops(r0_1=0.2, r0_2=0.9), diverges=(0.2,))
    rows = trainer.choose(artifact_in(tmp_path / "artifact"))
    assert [row.chosen for row in rows] == [True, False]
    assert rows[1].value is None and "not finite" in rows[1].error
    assert "learning rate 0.2 is no choice" in capsys.readouterr().err
    with pytest.raises(NonFiniteLossError, match="with none of"):
        Trainer(tops(r0_1=0.2), diverges=(0.1,)).choose(artifact_in(tmp_path / "other"))


def test_even_an_unknown_value_is_better_than_a_rate_that_diverges(tmp_path):
    trainer = Trainer(tops(r0_1=0.2, r0_2=None), diverges=(0.1,))
    assert [row.chosen for row in trainer.choose(artifact_in(tmp_path / "artifact"))] == [
        False,
        True,
    ]


def test_a_sweep_that_was_killed_goes_on(tmp_path):
    artifact, values = artifact_in(tmp_path / "artifact"), tops(r0_1=0.9, r0_2=0.2, r0_3=0.5)
    with pytest.raises(KeyboardInterrupt):
        Trainer(values, killed_at=0.2).choose(artifact)
    again = Trainer(values)
    rows = again.choose(artifact)
    assert again.trained == again.asked == [0.2, 0.3] and again.model == 0.1
    assert rows == Trainer(values).choose(artifact_in(tmp_path / "unbroken"))


def test_another_recipe_does_not_delete_what_is_begun(tmp_path):
    artifact, values = artifact_in(tmp_path / "artifact"), tops(r0_1=0.9, r0_2=0.2)
    Trainer(values).choose(artifact)
    again, kept = Trainer(values), sorted(artifact.folder.rglob("*"))
    with pytest.raises(UserError, match="start = random.* student"):
        again.choose(artifact_in(artifact.folder, start="student"))
    assert again.trained == [] and sorted(artifact.folder.rglob("*")) == kept


def test_a_complete_sweep_keeps_numbers_and_no_checkpoints(tmp_path):
    artifact = artifact_in(tmp_path / "artifact")
    Trainer(tops(r0_1=0.9, r0_2=0.2)).choose(artifact)
    assert len(list(artifact.folder.rglob(CHECKPOINTS))) == 2
    tidy(artifact)
    assert not list(artifact.folder.rglob(CHECKPOINTS))
    validated = sorted(artifact.folder.rglob("validated.json"))
    assert [json.loads(path.read_text())["value"] for path in validated] == [0.9, 0.2]
    with pytest.raises(UserError, match=f"{artifact.folder} is not complete"):
        chosen_rate(artifact)
    finish(artifact, learning_rate=0.1)
    assert chosen_rate(artifact) == 0.1
