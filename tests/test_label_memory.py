"""The memory of labeling does not grow with the pool."""

import os
import pathlib
import subprocess
import sys

import pytest

from fakes import label_recipe

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE = ROOT / "tests" / "fakes" / "label_recipe.py"


def peak(pool, workdir, stage) -> float:
    """The most memory that a stage's process had, in MiB."""
    with open(f"{workdir}-{stage}.log", "w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "must_keras.main", f"--experiment={RECIPE}:data={pool}",
                f"--stage={stage}", f"--workdir={workdir}",
            ],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, pathlib.Path(log.name).read_text()[-3000:]
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_ten_times_the_images_take_the_same_memory(tmp_path):
    peaks = {}
    for count in (10_000, 100_000):
        label_recipe.paint(tmp_path / f"{count}", count)
        for stage in ("teacher", "label"):
            peaks[count] = peak(tmp_path / f"{count}", tmp_path / f"run{count}", stage)
        print(f"{count} images: {peaks[count]:.0f} MiB")
    assert peaks[100_000] <= 1.1 * peaks[10_000]
