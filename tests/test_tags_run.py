"""Tags through every stage: half of them unknown in the table, pseudo labels at a precision."""

import json

import numpy as np
import pytest
from PIL import Image

from fakes.few_layers import NETWORK
from fakes.random_examples import training
from fakes.tiny_run import make
from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import CsvTags, ImagesOnly
from must_keras.data.splits import Splits
from must_keras.tasks import Tags
from must_keras.tasks.thresholds import AtPrecision

RUN = training(60, batch=8, learning_rate=0.01, log_every=20)


def draw(folder, count: int, seed: int) -> None:
    """Pictures whose red and blue say which of two tags they have, and a table of them."""
    folder.mkdir(parents=True)
    random, lines = np.random.default_rng(seed), ["file,red,blue"]
    for index in range(count):
        has = random.random(2) < 0.5
        color = np.array([200 * has[0], 60, 200 * has[1]]) + 25
        noise = random.integers(-20, 20, (40, 40, 3))
        Image.fromarray((color + noise).clip(0, 255).astype(np.uint8)).save(
            folder / f"{index:03}.png"
        )
        cells = ["" if random.random() < 0.25 else str(int(one)) for one in has]
        lines.append(",".join([f"{index:03}.png", *cells]))
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_tags_are_taught_labeled_learned_and_transferred(tmp_path):
    for seed, (part, count) in enumerate({"train": 64, "test": 32, "pile": 40}.items()):
        draw(tmp_path / part, count, seed)

    def read(part: str, head: str) -> CsvTags:
        folder = tmp_path / part
        return CsvTags(
            name=f"{head}_{part}", images=folder, csv_file=folder / "tags.csv", head=head
        )

    def sets(head: str) -> Splits:
        return Splits(
            train=read("train", head), validation=read("test", head), test=read("test", head)
        )

    def task(head: str) -> Tags:
        return Tags(name=head, classes=("red", "blue"))

    recipe = Recipe(
        name="tags",
        network=NETWORK,
        teachers=(
            Teacher(
                name="colors",
                task=task("colors"),
                sets=sets("colors"),
                training=RUN,
                threshold=AtPrecision(0.9, minimum=3),
            ),
        ),
        pools=(Pool(source=ImagesOnly(name="pile", root=tmp_path / "pile")),),
        student=Student(training=RUN),
        transfers=(Transfer(name="paint", task=task("paint"), sets=sets("paint"), training=RUN),),
        evaluation_batch=8,
    )
    make("all", recipe, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    for found in (report["teachers"]["colors"], report["student"]["tasks"]["colors"]):
        assert list(found["metrics"]) == ["tag_map", "micro_f1", "macro_f1"]
        assert found["metrics"]["tag_map"] > 0.95 > found["trivial"]["tag_map"]
    assert {row["metric"] for row in report["transfers"]} == {"tag_map"}
    assert "red" in (tmp_path / "run" / "labels.html").read_text()
