"""The program itself, killed with -9 again and again in every training stage."""

import io
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import zipfile

import h5py
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
KILLS = 20
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


def start(recipe, workdir, stage) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "must_keras.main", f"--experiment={recipe}", f"--stage={stage}",
        f"--workdir={workdir}", "--strategy=one",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(recipe, workdir, stage) -> None:
    process = start(recipe, workdir, stage)
    answer = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, answer[-3000:]


def weights_of(path) -> dict[str, tuple]:
    """Shape, type and bytes of every weight: HDF5 has bytes between them that nobody writes."""
    found = {}

    def keep(key, item):
        if isinstance(item, h5py.Dataset):
            found[key] = item.shape, item.dtype, item[()].tobytes()

    with zipfile.ZipFile(path) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:
        file.visititems(keep)
    return found


def made(workdir) -> dict[str, object]:
    """Bytes of every weight, numbers of all log lines but speeds, and results."""
    found: dict[str, object] = {}
    for path in sorted(workdir.rglob("*")):
        name = str(path.relative_to(workdir))
        if path.name == "model.keras":
            found[name] = weights_of(path)
        elif path.name == "metrics.jsonl":
            rows = [json.loads(row) for row in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in r.items() if k != "images_per_second"} for r in rows]
        elif path.name == "finished.json" and "transfers" in path.parts:
            found[name] = json.loads(path.read_text())["result"]
    return found


@pytest.mark.slow
def test_twenty_kills_of_every_training_stage(tmp_path):
    recipe = tmp_path / "often.py"
    recipe.write_text(RECIPE)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for stage in ("teacher", "label", "student", "rounds", "supervised", "selfsup", "transfer"):
        run(recipe, whole, stage)
        kills = 0
        while stage != "label" and kills < KILLS:
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
        print(f"{stage}: {kills} kills")
        assert kills == (0 if stage == "label" else KILLS)
        run(recipe, killed, stage)
    assert made(killed) == made(whole) and len(made(whole)) > 10
