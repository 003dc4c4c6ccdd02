"""The limit of a domain gate, and who can have one."""

import dataclasses
import types

import numpy as np
import pytest

from fakes.label_recipe import light
from must_keras import experiment
from must_keras.config.domain_gate import DomainGate, check_gate
from must_keras.config.recipe import ExternalTeacher
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.tasks import Classification

TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}


@pytest.mark.parametrize(
    ("quantile", "count", "limit"),
    [
        (1.0, 5, 5.0), (0.99, 5, 5.0), (0.8, 5, 4.0), (0.81, 5, 5.0), (0.2, 5, 1.0),
        (0.01, 5, 1.0), (0.95, 20, 19.0), (0.99, 100, 99.0), (0.5, 1, 1.0), (1, 3, 3.0),
    ],
)  # fmt: skip
def test_the_limit_is_the_least_that_a_share_does_not_exceed(quantile, count, limit):
    distances = np.random.default_rng(0).permutation(np.arange(1.0, count + 1.0))
    assert DomainGate(quantile=quantile).limit(distances) == limit
    assert (distances <= limit).mean() >= quantile
    assert (distances < limit).mean() < quantile


@pytest.mark.parametrize("quantile", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_quantile_is_a_share(quantile):
    with pytest.raises(UserError, match=r"the domain gate: quantile=.*within \(0, 1\]") as found:
        DomainGate(quantile=quantile)
    assert found.value.key == "quantile"


def test_a_quantile_is_a_number():
    with pytest.raises(UserError, match="quantile is a str, expected a number"):
        DomainGate(quantile="0.9")


def test_only_a_teacher_that_is_trained_here_has_one():
    task = Classification(name="kind", classes=("dark", "light"))
    model = ExternalModel(model=light, version="1", size=16, form="probabilities")
    values = {"name": "kind", "task": task, "model": model, "loss_weight": 1.0}
    why = "teacher 'kind': gate=.*: only a teacher that is trained here has training images"
    with pytest.raises(UserError, match=why) as found:
        ExternalTeacher(**values, gate=DomainGate())
    assert found.value.key == "gate"
    imported = types.SimpleNamespace(name="kind", gate=DomainGate(), is_trained_here=False)
    with pytest.raises(UserError, match=why):
        check_gate(imported)
    with pytest.raises(UserError, match="gate is a float, expected a DomainGate or None"):
        ExternalTeacher(**values, gate=0.9)


def test_the_scenes_have_gates_where_they_are_asked_for():
    plain = experiment.load("scenes", TINY, data_dir="nowhere")
    recipe = experiment.load("scenes", TINY | {"gate": "0.95"}, data_dir="nowhere")
    assert {teacher.gate for teacher in plain.teachers} == {None}
    assert {teacher.gate for teacher in recipe.teachers} == {DomainGate(quantile=0.95)}
    # Another gate costs no teacher.
    teacher = plain.teachers[0]
    with_gate = dataclasses.replace(teacher, gate=DomainGate())
    assert teacher.depends_on(plain.network, 0) == with_gate.depends_on(plain.network, 0)
