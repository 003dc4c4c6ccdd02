"""The recipe of one's own folders through all stages, on small real sets, on tiny settings."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_every_stage_runs_on_real_images(tmp_path):
    recipe = (
        f"folders:data='{DATA}',size=64,teacher_steps=3,student_steps=3,transfer_steps=2,"
        "starts=random+student"
    )
    answer = subprocess.run(
        [
            sys.executable, "-m", "must_keras.main", f"--experiment={recipe}",
            f"--workdir={tmp_path / 'run'}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report["teachers"]) == {"caltech", "nuclei", "cards", "street", "kitchen"}
    assert all(len(columns) == 5 for columns in report["labels"].values())
    assert len(report["transfers"]) == 16
    aligned = {
        row["set"]: row["aligned"] for row in report["transfers"] if row["start"] == "student"
    }
    assert aligned["cifar10"] == aligned["coco_boxes"] == "task"
    assert aligned["kitchen_normals"] == "images" and aligned["nuclei_again"] == "set"
