"""What changed between the inputs of an artifact and those that are asked for, in words."""

import re
import time

import pytest

from must_keras.errors import listed
from must_keras.runs.fingerprint import describe, first_difference, in_words
from must_keras.training.config import TrainingConfig
from must_keras.training.optimizers import SGD

ONE, TWO = "0123456789abcdef", "f" * 64


def source(name, digest=ONE, **more):
    return {"name": name, "files": digest} | more


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({"a": {"steps": 3}}, {"a": {"steps": 4}}, ["with a.steps = 3", "4"]),
        ({"rates": [0.1, 0.2]}, {"rates": [0.1, 0.3]}, ["rates[1] = 0.2", "0.3"]),
        ({"a": 1}, {"a": 1, "b": None, "c": 2}, ["c = None", "2"]),
        ({"pool": source("pile")}, {"pool": source("pile", TWO[:16])}, ["image files of 'pile'"]),
        (
            {"sources": [source("pile")]},
            {"sources": [source("pile"), source("pile_block2")]},
            ["without pile_block2", "sources"],
        ),
        (
            {"sources": [source("pile"), source("heap")]},
            {"sources": [source("pile")]},
            ["with heap", "no longer"],
        ),
        ({"sources": [source("a")]}, {"sources": [source("b", TWO)]}, ["name = a", "b"]),
        ({"teacher_sha256": ONE * 4}, {"teacher_sha256": TWO}, ["weights of the teacher"]),
        (
            {"columns": {"fruit/pile": TWO}},
            {"columns": {"fruit/pile": ONE * 4}},
            ["teacher's weights of the labels fruit/pile"],
        ),
        ({"columns": {}}, {"columns": {"fruit/pile": TWO}}, ["without columns.fruit/pile"]),
        ({"columns": {"fruit/pile": TWO}}, {"columns": {}}, ["no longer has"]),
        ({"start": None}, {"start": {"path": "x", "sha256": TWO}}, ["start = None", "..."]),
        ({"odd": ONE}, {"odd": ONE[::-1]}, ["content of odd"]),
        ({}, {"left_out": {"pile": ["a", "b"]}}, ["2 images of pile (a, b) that are now found"]),
        ({"left_out": {"pile": ["a"]}}, {}, ["without 1 image of pile (a) that is no longer"]),
        ({"a": {}}, {"a": {"version": 2}}, ["by another version of the code", "None, now 2"]),
        ({"pool": {"tiff": 2}}, {"pool": {}}, ["by another version", "pool.tiff = 2, now None"]),
        ({"m": {"version": "1"}}, {"m": {"version": "2"}}, ["m.version = 1", "2"]),
        (5, {"a": 1}, ["5"]),
    ],
)
def test_what_changed_is_named_without_hashes(was, now, words):
    sentence = in_words(was, now)
    assert all(word in sentence for word in words), sentence
    assert not re.search("[0-9a-f]{16}", sentence) and first_difference(was, now) is not None


def test_nothing_changed():
    assert in_words({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) is None


def test_long_lists_and_values_are_cut():
    assert listed(["a", "b", "c", "d"], 9) == "a, b, c and 6 more"
    assert len(in_words({"a": "x" * 500}, {"a": "y" * 500})) < 300


def test_many_copies_are_compared_at_once():
    ids = [f"{i}.png" for i in range(20_000)]
    was, now = {"left_out": {"pile": ids}}, {"left_out": {"pile": [*ids, "new.png"]}}
    began = time.process_time()
    assert in_words(was, now).startswith("with 1 image of pile (new.png)")
    assert time.process_time() - began < 1.0


def test_inputs_omit_defaults_and_the_whole_recipe_has_them():
    training = TrainingConfig(steps=3, batch=2, learning_rate=0.1, optimizer=SGD(), loggers=(list,))
    assert describe(training).keys() == {"steps", "batch", "learning_rate", "optimizer"}
    whole = describe({"training": training}, whole=True)["training"]
    assert whole["type"] == "TrainingConfig" and whole["warmup"] == 0.05 and whole["steps"] == 3
    assert whole["loggers"] == ["list"]
