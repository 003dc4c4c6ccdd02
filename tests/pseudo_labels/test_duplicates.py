import pathlib

import numpy as np
import pytest
from PIL import Image

from fakes.photos import jpeg, picture, resized
from must_keras.data.sources import ImagesOnly, Source, Subset
from must_keras.errors import UserError
from must_keras.pseudo_labels import duplicates
from must_keras.pseudo_labels.duplicates import PRINT, Match

DATA = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data"
COUNT = 30


class Pictures(Source):
    """Images that are given; None cannot be read."""

    name = "pictures"
    label_spaces = {}  # noqa: RUF012

    def __init__(self, images):
        self._images = images

    def __len__(self):
        return len(self._images)

    def image_id(self, index):
        return str(index)

    def image(self, index):
        if self._images[index] is None:
            raise UserError("no picture")
        return self._images[index]

    def labels(self, index):
        return {}

    def describe(self):
        return {}


def prints(source) -> np.ndarray:
    return np.concatenate(list(duplicates.read(source)))


def of(images) -> np.ndarray:
    return prints(Pictures(images))


ORIGINALS = [picture(seed) for seed in range(COUNT)]
COPIES = {
    "the same": lambda image: image,
    "JPEG": jpeg,
    "half": lambda image: resized(image, 0.5),
    "twice": lambda image: resized(image, 2.0),
    "lighter": lambda image: np.minimum(image * 1.1 + 10, 255).astype(np.uint8),
    "dark": lambda image: (image // 8).astype(np.uint8),
    "cut by 2 % of its height": lambda image: image[1:],
    "gray": lambda image: np.asarray(Image.fromarray(image).convert("L").convert("RGB")),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(kind):
    found = duplicates.matches(of([COPIES[kind](image) for image in ORIGINALS]), of(ORIGINALS))
    assert [(match.index, match.other) for match in found] == [(i, i) for i in range(COUNT)]
    assert not any(match.mirrored for match in found)
    if kind == "the same":
        assert {match.distance for match in found} == {0}
        assert all(match.correlation == pytest.approx(1.0, abs=1e-6) for match in found)


def test_a_mirrored_copy_is_a_copy():
    found = duplicates.matches(of([jpeg(image[:, ::-1]) for image in ORIGINALS]), of(ORIGINALS))
    assert [(match.index, match.other) for match in found] == [(i, i) for i in range(COUNT)]
    assert all(match.mirrored and match.correlation > 0.99 for match in found)
    upside_down = of([image[::-1] for image in ORIGINALS])
    assert duplicates.matches(upside_down, of(ORIGINALS)) == []


def test_other_pictures_are_not_copies():
    others = of([picture(seed) for seed in range(1000, 1000 + COUNT)])
    assert duplicates.matches(others, of(ORIGINALS)) == []
    half_and_half = [
        np.concatenate([ORIGINALS[i][:, :40], ORIGINALS[i + 1][:, 40:]], axis=1) for i in range(9)
    ]
    assert duplicates.matches(of(half_and_half), of(ORIGINALS)) == []


def test_correlation_by_hand():
    """(-10, 0, 10) with (-20, -10, 30): 500 / (sqrt(200) sqrt(1400))."""
    one, two = duplicates.unit(np.array([[0.0, 10.0, 20.0], [0.0, 10.0, 50.0]]))
    assert one @ two == pytest.approx(500 / (200 * 1400) ** 0.5)
    np.testing.assert_allclose(one, np.array([-1, 0, 1]) / 2**0.5, atol=1e-7)
    assert one @ duplicates.unit(np.array([40.0, 30.0, 20.0])) == pytest.approx(-1.0)
    assert one @ duplicates.unit(np.array([100.0, 130.0, 160.0])) == pytest.approx(1.0)


@pytest.mark.parametrize("levels", [(7, 7, 7), (0, 0, 0), (7, 7, 10.9)])
def test_what_is_flat_correlates_with_nothing(levels):
    flat = duplicates.unit(np.array(levels, np.float32))
    np.testing.assert_array_equal(flat, [0, 0, 0])
    assert duplicates.unit(np.array([7.0, 7.0, 11.0])).any()


def test_blank_pictures_are_no_copies_of_each_other():
    blank = [np.full((20, 30, 3), level, np.uint8) for level in (0, 128, 255)]
    noisy = [
        b + np.random.default_rng(0).integers(0, 2, b.shape).astype(np.uint8) for b in blank[:2]
    ]
    assert duplicates.matches(of(blank + noisy), of(blank + noisy)) == []


def made(hashes, grays, mirrored=None) -> np.ndarray:
    """Prints whose gray pictures have only the first few of 256 numbers."""
    padded = np.zeros((len(grays), 256), np.float32)
    padded[:, : len(grays[0])] = grays
    found = np.ones(len(padded), PRINT)
    found["hash"], found["gray"] = hashes, padded
    found["mirrored"] = ~found["hash"] if mirrored is None else mirrored
    return found


def test_a_near_hash_needs_a_like_picture_and_the_reverse():
    image = made([0], [(1.0, 0.0)])
    ten, eleven = 2**10 - 1, 2**11 - 1
    alike, unlike = (0.96, 0.28), (0.94, 0.3412)
    assert duplicates.matches(image, made([ten, eleven, 0], [alike, alike, unlike])) == [
        Match(0, 0, 10, pytest.approx(0.96), False)
    ]
    assert duplicates.matches(image, made([eleven, 0], [alike, unlike])) == []


def test_the_most_alike_one_is_named_whatever_is_read_at_once(monkeypatch):
    likeness = [0.951, 0.97, 0.99, 0.96, 0.98, 0.955, 0.952]
    others = made(range(7), [(c, (1 - c * c) ** 0.5) for c in likeness])
    images = made([0, 2**40 - 1, 0], [(1.0, 0.0), (1.0, 0.0), (0.96, 0.28)])
    whole = duplicates.matches(images, others)
    assert [(m.index, m.other) for m in whole] == [(0, 2), (2, 3)] and whole[0].distance == 1
    for name in ("_OTHERS", "_PAIRS"):
        monkeypatch.setattr(duplicates, name, 2)
    assert duplicates.matches(images, others) == whole


def test_images_are_read_in_order_and_those_that_cannot_be_are_skipped(monkeypatch):
    images = [*ORIGINALS[:5], None, ORIGINALS[6]]
    whole = of(images)
    monkeypatch.setattr(duplicates, "_BLOCK", 3)
    blocks = list(duplicates.read(Pictures(images)))
    assert [len(block) for block in blocks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(blocks)["gray"], whole["gray"])
    assert whole["readable"].tolist() == [True] * 5 + [False, True]
    found = duplicates.matches(whole, of([*ORIGINALS, None]))
    assert [match.other for match in found] == [0, 1, 2, 3, 4, 6]


def real(folder: str) -> Source:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is not there")
    return ImagesOnly(name=folder, root=DATA / folder)


def test_dark_nuclei_of_one_kind_are_told_apart():
    train, test = real("inst_nuclei_coco/train"), real("inst_nuclei_coco/val")
    known = prints(test)
    assert duplicates.matches(prints(train), known) == []
    copies = Pictures([jpeg(resized(test.image(i), 0.5)) for i in range(len(test))])
    found = duplicates.matches(prints(copies), known)
    assert [match.other for match in found] == list(range(len(test)))


def test_frames_of_a_film_are_duplicates_of_close_neighbors_only():
    """Every eighth frame of a hand-held camera: 12 of 87 neighbors, two frames on 2 of 86."""
    frames = real("depth_7scenes_redkitchen/rgb")
    count, gaps = len(frames), set()
    for first in range(0, count, 11):
        one = prints(Subset(frames, [first], name="one"))
        others = [i for i in range(count) if i != first]
        for match in duplicates.matches(one, prints(Subset(frames, others, name="rest"))):
            gaps.add(abs(others[match.other] - first))
    assert gaps <= {1, 2}
    pairs = [
        duplicates.matches(
            prints(Subset(frames, [i], name="one")), prints(Subset(frames, [i + 1], name="next"))
        )
        for i in range(count - 1)
    ]
    assert sum(map(bool, pairs)) == 12


def test_pictures_are_not_changed_by_how_they_are_kept(tmp_path):
    """A file and the pixels of it."""
    Image.fromarray(ORIGINALS[0]).save(tmp_path / "a.png")
    found = prints(ImagesOnly(name="files", root=tmp_path))
    np.testing.assert_array_equal(found["hash"], of(ORIGINALS[:1])["hash"])
