"""What readers notice in files: by several threads, and in sets of many files."""

import sys
import threading

import numpy as np
import pytest
from PIL import Image

from must_keras.data.io.depth_codes import DepthValues
from must_keras.data.io.images import read_coded
from must_keras.data.io.map_codes import Palettes
from must_keras.data.io.notices import Notices
from must_keras.data.sources import NormalMaps


@pytest.fixture
def busy():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_depths_are_examined_by_several_threads(busy, capsys):
    values, notices, errors = DepthValues("source 'd'", 1.0, None), Notices("source 'd'"), []

    def read(seed):
        random = np.random.default_rng(seed)
        for number in range(40):
            depth = random.uniform(1, 2, (16, 16)).astype(np.float32)
            depth[:4] = random.uniform(50, 60)
            try:
                values.meters(depth, where=f"{seed}/{number}", notices=notices)
            except RuntimeError as error:
                errors.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and "warning: source 'd': " in capsys.readouterr().err


def test_some_files_of_normals_are_examined_once(tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        for folder in ("images", "normals"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (4, 4), (128, 128, 0)).save(tmp_path / folder / name)
    monkeypatch.setattr("must_keras.data.sources.pixel_maps.MAX_EXAMINED", 2)
    source = NormalMaps(
        name="n", images=tmp_path / "images", normals=tmp_path / "normals", head="n"
    )
    examined = []
    monkeypatch.setattr(source, "_notice_flip", lambda normals, path: examined.append(path.name))
    for index in (0, 1, 2, 0, 1, 2):
        source.labels(index)
    assert examined == ["a.png", "b.png"]


def test_names_of_gray_maps_are_not_kept(tmp_path):
    Image.new("L", (4, 4), 1).save(tmp_path / "a.png")
    palettes = Palettes(Notices("source 'm'"), {0, 1}, are_stated=False)
    for number in range(9):
        palettes.check(read_coded(tmp_path / "a.png"), f"{number}.png")
    assert not palettes._checked
