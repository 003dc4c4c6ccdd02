"""Commands and code of README and site that start from the default run, on a tiny run of it."""

import re
import subprocess
import sys

import pytest

import must_keras as mk
from fenced_blocks import ROOT, blocks

TINY = {
    "pool_images": 48, "images": 40, "batch": 8, "teacher_steps": 2, "student_steps": 2,
    "transfer_steps": 2, "starts": ("random",),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with runs/scenes, without transfers, and photos that the tutorial renders."""
    home = tmp_path_factory.mktemp("home")
    options = TINY | {"data_dir": str(home / "data")}
    for stage in ("teacher", "label", "student", "export"):
        mk.run("scenes", home / "runs" / "scenes", stage=stage, strategy="one", **options)
    return home


def start(line: str, home) -> str:
    program, *words = line.split("#")[0].split()
    assert program == "must-keras", line
    answer = subprocess.run(
        [sys.executable, "-m", "must_keras.cli", *words],
        cwd=home, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home)},
    )  # fmt: skip
    assert answer.returncode == 0, f"{line}\n{answer.stderr[-3000:]}"
    return answer.stdout


@pytest.mark.slow
def test_commands_and_code_of_the_default_run(home, monkeypatch):
    monkeypatch.chdir(home)
    (render,) = blocks("python", "scenes")
    exec(render.code, {})
    photos = sorted(home.glob("photos/*.png"))
    assert len(photos) == 4
    for number, block in enumerate(blocks("sh", "run")):
        for line in block.commands():
            new = re.sub(r"--out=\S+", f"--out=predicted-{number}-{len(line)}", line)
            start(new, home)
    assert len([*home.glob("predicted-*/predictions.jsonl")]) >= 4
    (code,) = blocks("python", "backbone")
    names: dict = {}
    exec(code.code, names)
    assert names["logits"].shape == (4, 10)


@pytest.mark.slow
def test_the_five_lines(home, monkeypatch):
    monkeypatch.chdir(home)
    (block,) = blocks("python", "five lines")
    photo = home / "photo.jpg"
    from PIL import Image

    Image.new("RGB", (80, 60), (90, 140, 60)).save(photo)
    made = mk.open_run(home / "runs" / "scenes")
    monkeypatch.setattr(mk, "run", lambda recipe: made)
    exec(block.code, {})
    assert (home / "photo_predicted.png").is_file()
