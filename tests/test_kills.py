"""The program itself, killed with -9 again and again in every training stage."""

import json
import os
import pathlib
import random
import shutil
import time

import pytest

from benchmarks.run_differences import log_rows, weights_of
from programs import Program

KILLS = 20
STAGES = ("teacher", "label", "student", "rounds", "supervised", "selfsup", "transfer")
RECIPE = """
import dataclasses

from experiments import scenes


def often(item):
    training = dataclasses.replace(item.training, save_seconds=0.0)
    return dataclasses.replace(item, training=training)


def recipe(*, data_dir: str | None = None):
    found = scenes.recipe(
        data_dir=data_dir, pool_images=48, images=64, batch=8, teacher_steps=60, student_steps=150,
        transfer_steps=40, rounds=2,
        starts=("random", "student", "rounds", "supervised", "simclr", "moco"),
    )
    return dataclasses.replace(
        found,
        supervised=dataclasses.replace(found.supervised, save_seconds=0.0),
        selfsup=tuple(often(m) for m in found.selfsup),
        teachers=tuple(often(t) for t in found.teachers[:2]),
        student=often(found.student),
        transfers=tuple(often(t) for t in found.transfers[:2]),
    )
"""


def start(recipe, workdir, stage) -> Program:
    command = [
        "-m", "must_keras.main", f"--experiment={recipe}", f"--stage={stage}",
        f"--workdir={workdir}", "--strategy=one",
    ]  # fmt: skip
    return Program(command, merged=True)


def run(recipe, workdir, stage) -> None:
    process = start(recipe, workdir, stage)
    answer = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, answer[-3000:]


def made(workdir) -> dict[str, object]:
    """Bytes of every weight, numbers of all log lines but speeds, and results."""
    found: dict[str, object] = {}
    for path in sorted(workdir.rglob("*")):
        name = str(path.relative_to(workdir))
        if path.name == "model.keras":
            found[name] = weights_of(path)
        elif path.name == "metrics.jsonl":
            found[name] = log_rows(path)
        elif path.name == "finished.json" and "transfers" in path.parts:
            found[name] = json.loads(path.read_text())["result"]
    return found


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """A function: the folder of a run that nobody killed, as it is after a stage."""
    root = tmp_path_factory.mktemp("whole")
    recipe = root / "often.py"
    recipe.write_text(RECIPE)
    there: list[str] = []

    def folder(stage: str) -> pathlib.Path:
        for name in STAGES[len(there) : STAGES.index(stage) + 1]:
            if there:
                shutil.copytree(root / there[-1], root / name)
            run(recipe, root / name, name)
            there.append(name)
        return root / stage

    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stage", [name for name in STAGES if name != "label"])
def test_twenty_kills(after, tmp_path, stage):
    """The stage's weights, log lines and results are those of the run that nobody killed."""
    recipe, killed = tmp_path / "often.py", tmp_path / "killed"
    recipe.write_text(RECIPE)
    number = STAGES.index(stage)
    if number:
        shutil.copytree(after(STAGES[number - 1]), killed)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments, kills = random.Random(seed), 0
    while kills < KILLS:
        process = start(recipe, killed, stage)
        before = set(killed.rglob("checkpoints/*.npz"))
        # A moment after this process has saved a step of its own, or has nothing left to do.
        while process.poll() is None and not set(killed.rglob("checkpoints/*.npz")) - before:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.1))
        if process.poll() is None:
            os.kill(process.pid, 9)
            kills += 1
        answer = process.communicate()[0]
        if process.returncode == 0:
            break
        assert process.returncode == -9, answer[-3000:]
    assert kills == KILLS
    run(recipe, killed, stage)
    found = made(killed)
    assert found == made(after(stage)) and len(found) > 3
