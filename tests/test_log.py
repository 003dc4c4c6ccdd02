"""Messages of a run: where they go, and how a program silences or keeps them."""

import logging

import pytest

from must_keras.errors import warn
from must_keras.log import LOG
from must_keras.progress import track


@pytest.fixture
def quiet():
    LOG.setLevel(logging.WARNING)
    yield
    LOG.setLevel(logging.INFO)


def work():
    LOG.info("teacher shapes: 50% done")
    warn("the disk is full")
    list(track(range(3), "labels", 3))


def test_messages_go_to_stdout_and_warnings_to_stderr(capsys):
    work()
    found = capsys.readouterr()
    assert found.out == "teacher shapes: 50% done\n"
    first, *progress = found.err.splitlines()
    assert first == "warning: the disk is full" and progress[-1].startswith("labels: 3/3")


def test_a_level_leaves_warnings_alone(quiet, capsys):
    work()
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "warning: the disk is full\n")


def test_a_handler_gets_the_same_messages(tmp_path):
    handler = logging.FileHandler(tmp_path / "run.log")
    LOG.addHandler(handler)
    try:
        work()
    finally:
        LOG.removeHandler(handler)
        handler.close()
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert lines == ["teacher shapes: 50% done", "warning: the disk is full"]
