"""Which devices train, and which cannot."""

import json

import pytest
import tensorflow as tf

from fakes.random_examples import training
from must_keras.errors import UserError
from must_keras.training.strategy import make_strategy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirored", "did you mean 'mirrored'"),
        ("parameter_server", "Keras' fit does not run under ParameterServerStrategy"),
        ("tpu", "no TPU was found here"),
        ("multiworker", "needs the environment variable TF_CONFIG"),
    ],
)
def test_strategies_that_cannot_work(name, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=message):
        make_strategy(name)


CLUSTER = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG cannot be read"),
        (json.dumps({"cluster": {"ps": ["a:1"], **CLUSTER}, "task": {"index": 0}}), "type 'ps'"),
        (
            json.dumps({"cluster": CLUSTER, "task": {"index": 2}}),
            "the task worker 2 does not train",
        ),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}),
            "evaluator 0",
        ),
        (json.dumps([]), "TF_CONFIG cannot be read"),
    ],
)
def test_clusters_that_cannot_work(config, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=message):
        make_strategy("multiworker")


def test_a_cluster_of_one_is_this_machine(monkeypatch):
    config = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    for name in ("multiworker", "auto", "one"):
        strategy = make_strategy(name)
        assert isinstance(strategy, tf.distribute.OneDeviceStrategy)


def test_a_batch_that_the_microbatches_do_not_divide_is_refused():
    with make_strategy("one").scope():
        training(1, batch=6, accumulate=3).check_devices()
        with pytest.raises(
            UserError, match="batch=4 cannot be split over 1 replicas in 3 microbatches"
        ):
            training(1, batch=4, accumulate=3).check_devices()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 0}, "accumulate must be positive"),
        ({"precision": "float16"}, "precision must be 'float32' or 'mixed_bfloat16'"),
        ({"optimizer": "adam"}, "optimizer is a str, expected an Optimizer"),
        ({"schedule": 0.1}, "schedule is a float, expected a Schedule"),
    ],
)
def test_values_that_are_none(changes, message):
    with pytest.raises(UserError, match=message):
        training(1, **changes)
