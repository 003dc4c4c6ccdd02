import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest

from must_keras.data.sources.scenes import Scenes
from must_keras.errors import UserError
from must_keras.synthetic import FAMILIES, SceneConfig, render_example
from must_keras.synthetic import examples as synthetic_examples
from must_keras.synthetic.examples import (
    IGNORE,
    encode_depth,
    encode_normals,
    encoded_example,
    rendered_examples,
    world_of,
)
from must_keras.synthetic.rendering import render
from must_keras.synthetic.shapes import SHAPES, Revolved, Torus
from must_keras.synthetic.worlds import Paint, Thing, World, look_at
from must_keras.tasks.normals import from_colors

GRAY = Paint(color=np.float32([0.5, 0.5, 0.5]), other=np.float32([0.5, 0.5, 0.5]))


def one_thing(name="ball", *, center=(0.0, 3.0, 1.0), turn=None, light=(0.0, 0.0, 1.0), low=None):
    """A camera 1 m above the ground, looking north at one thing of about 1 m."""
    low = low or (-4.0, -1.0, 0.0)
    return World(
        eye=np.array([0.0, 0.0, 1.0]),
        turn=look_at(0.0, 0.0, 0.0),
        focal=1.0,
        low=np.array(low),
        high=np.array([4.0, 5.0, 2.5]),
        surfaces={"floor": GRAY, "wall": GRAY, "ceiling": GRAY},
        patches=(),
        things=(
            Thing(
                name=name,
                shape=SHAPES[name],
                matrix=np.eye(3) if turn is None else turn,
                center=np.array(center),
                paint=GRAY,
            ),
        ),
        light=np.array(light),
        ambient=0.2,
        warmth=0.0,
        exposure=1.0,
        noise=0.0,
    )


def rendered(world, size=65):
    return render(world, size, np.random.default_rng(0))


def same(first, second):
    np.testing.assert_equal(first, second)


def test_depth_of_a_unit_ball_three_meters_away():
    seen = rendered(one_thing())
    # The middle ray meets the ball's pole: 3 m - 1 m, and its normal faces the camera.
    assert seen.depth[32, 32] == pytest.approx(2.0, abs=1e-6)
    np.testing.assert_allclose(seen.normals[32, 32], [0, 0, -1], atol=1e-6)
    # Ray (13/65, 0, 1) = (0.2, 0, 1): 1.04 t^2 - 6 t + 8 = 0, t = (3 - sqrt(0.68)) / 1.04.
    assert seen.depth[32, 45] == pytest.approx((3 - np.sqrt(0.68)) / 1.04, abs=1e-5)
    # The same ray's x is 0.2 t on the unit ball, so that is the normal's x.
    assert seen.normals[32, 45, 0] == pytest.approx(0.2 * (3 - np.sqrt(0.68)) / 1.04, abs=1e-5)


def test_room_depth_is_z_depth_and_normals_point_inwards():
    seen = rendered(one_thing(center=(0.0, 3.0, -50.0)))
    assert seen.depth[32, 32] == pytest.approx(5.0, abs=1e-5)
    assert seen.depth[32, 35] == pytest.approx(5.0, abs=1e-5)  # z-depth, not distance
    np.testing.assert_allclose(seen.normals[32, 32], [0, 0, -1], atol=1e-6)
    # Row 64 looks down by 32/65: the floor, 1 m below, at z = 65/32; its normal is up: -Y.
    assert seen.depth[64, 32] == pytest.approx(65 / 32, abs=1e-5)
    np.testing.assert_allclose(seen.normals[64, 32], [0, -1, 0], atol=1e-6)


def test_thing_hides_the_floor_from_the_light():
    world = one_thing(center=(0.0, 3.0, 0.5), turn=0.4 * np.eye(3), light=(0.0, 3.0, 2.4))
    lit = dataclasses.replace(world, things=())
    # The floor straight below the ball's front edge, 2.75 m ahead and 1 m below the camera.
    row = int((1 / 2.75 + 0.5) * 65)
    shadowed, open_floor = rendered(world), render(lit, 65, np.random.default_rng(0))
    assert shadowed.things[row, 32] == -1
    assert shadowed.image[row, 32, 0] < 0.5 * open_floor.image[row, 32, 0]
    np.testing.assert_array_equal(shadowed.image[64, 2], open_floor.image[64, 2])


@pytest.mark.parametrize("name", SHAPES)
def test_normals_agree_with_depth_and_surface_with_support(name):
    """Finite differences of the depth, where the four neighbors lie on one smooth surface."""
    turn = look_at(0.7, 0.3, 0.2) * 0.9
    seen = rendered(one_thing(name, turn=turn), 161)
    along = (np.arange(161) + 0.5) / 161 - 0.5
    x, y = np.meshgrid(along, along)
    points = np.stack([x, y, np.ones_like(x)], -1) * seen.depth[..., None]
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    measured = np.cross(down, across)
    measured /= np.linalg.norm(measured, axis=-1, keepdims=True)
    inner = seen.normals[1:-1, 1:-1]
    smooth = seen.things[1:-1, 1:-1] == 0
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = np.s_[rows : rows + 159, columns : columns + 159]
        smooth &= seen.things[beside] == 0
        smooth &= (seen.normals[beside] * inner).sum(-1) > 0.99
    smooth &= np.einsum("ijc,ijc->ij", inner, -points[1:-1, 1:-1]) > 0.3 * seen.depth[1:-1, 1:-1]
    assert smooth.sum() > 200
    assert np.quantile((measured * inner).sum(-1)[smooth], 0.02) > np.cos(np.radians(4))
    # No visible point lies beyond the support of the shape, and one comes near it.
    on_thing = seen.things == 0
    local = (points - [0, 0, 3])[on_thing] @ look_at(0, 0, 0).T @ np.linalg.inv(turn).T
    for axis in np.eye(3):
        assert (local @ axis).max() < SHAPES[name].support(axis) + 1e-3
        assert (local @ -axis).max() < SHAPES[name].support(-axis) + 1e-3


@pytest.mark.parametrize("solid", [Revolved(1, 0, -1), Revolved(0.2, 0, 0.8), Torus(0.7, 0.3)])
def test_hits_lie_on_the_surface_and_rays_away_miss(solid):
    rng = np.random.default_rng(0)
    origin = rng.normal(size=(3, 500))
    origin = (4 * origin / np.linalg.norm(origin, axis=0)).astype(np.float32)
    aim = rng.uniform(-0.6, 0.6, (3, 500)).astype(np.float32)
    t = solid.hit(origin, aim - origin)
    x, y, z = (origin + (aim - origin) * t)[:, np.isfinite(t)]
    if isinstance(solid, Torus):
        off = np.hypot(np.hypot(x, y) - 0.7, z) - 0.3
    else:
        off = x * x + y * y - (solid.q0 + solid.q2 * z * z)
        off = np.where(np.abs(np.abs(z) - 1) < 1e-4, np.maximum(off, 0), off)
    assert np.isfinite(t).sum() > 100
    np.testing.assert_allclose(off, 0, atol=5e-5)
    assert not np.isfinite(solid.hit(origin, origin - aim)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_every_family_agree_with_each_other(family):
    config = SceneConfig(family=family, size=48)
    for index in range(6):
        example = render_example(config, "train", index)
        world, rng = world_of(config, "train", index)
        seen = render(world, 48, rng)
        np.testing.assert_array_equal(seen.image, example["image"])
        valid = example["depth"] > 0
        lengths = np.linalg.norm(example["normals"], axis=-1)
        np.testing.assert_allclose(lengths, valid, atol=1e-5)
        assert np.isfinite(example["depth"]).all() and example["depth"].max() < 65
        used = np.unique(example["semantic"])
        assert all(v < len(config.semantic_classes) or v == IGNORE for v in used)
        if family in ("rooms", "dev_map", "dev_map2", "final_map", "final_map2"):
            assert IGNORE not in used
        if "class" in family or family == "single":
            assert 0 <= example["class"] < len(config.classes)
        along = (np.arange(48) + 0.5) / 48 - 0.5
        x, y = np.meshgrid(along / world.focal, along / world.focal)
        rays = np.stack([x, y, np.ones_like(x)], -1)
        assert ((rays * example["normals"]).sum(-1)[valid] < 1e-4).all()
        boxes_match_visible_pixels(config, world, seen, example["objects"])


def boxes_match_visible_pixels(config, world, seen, objects):
    listed = [
        number
        for number, thing in enumerate(world.things)
        if thing.name in config.categories and (seen.things == number).sum() >= 12 * (48 / 64) ** 2
    ]
    assert len(objects["bbox"]) == len(objects["label"]) == len(objects["mask"]) == len(listed)
    for number, box, label, mask in zip(
        listed, objects["bbox"], objects["label"], objects["mask"], strict=True
    ):
        assert config.categories[label] == world.things[number].name
        rows, columns = np.nonzero(seen.things == number)
        np.testing.assert_allclose(
            box * 48, [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], atol=1e-4
        )
        area = (box[2] - box[0]) * (box[3] - box[1]) * 48**2
        assert mask.mean() == pytest.approx(len(rows) / area, abs=0.12)


def test_vocabularies():
    training = [SceneConfig(family=f) for f in ("single", "crowd", "rooms", "depth", "pool")]
    assert len({(c.classes, c.categories, c.semantic_classes) for c in training}) == 1
    seen = {
        group: {
            s
            for name, family in FAMILIES.items()
            if name.startswith(group)
            for style in family.styles
            for s in style.shapes
        }
        for group in ("dev_", "final_")
    }
    known = {
        shape for config in training for style in config.definition.styles for shape in style.shapes
    }
    assert not known & seen["dev_"] and not known & seen["final_"]
    assert not seen["dev_"] & seen["final_"]


def test_classes_are_mildly_unequal_and_color_does_not_tell_them():
    config = SceneConfig(family="single", size=16)
    classes, colors = [], []
    for index in range(600):
        world, _ = world_of(config, "train", index)
        classes.append(config.classes.index(world.things[0].name))
        colors.append(world.things[0].paint.color)
    shares = np.bincount(classes, minlength=8) / 600
    assert shares.min() > 0.06
    assert shares.max() < 0.21
    means = np.stack([np.mean(np.array(colors)[np.array(classes) == k], axis=0) for k in range(8)])
    assert np.ptp(means, axis=0).max() < 0.25


def test_an_image_depends_on_family_seed_split_and_index_only():
    config = SceneConfig(family="crowd", size=32)
    same(render_example(config, "train", 7), render_example(config, "train", 7))
    same(
        render_example(config, "train", 7),
        render_example(dataclasses.replace(config, train=9), "train", 7),
    )
    others = [
        render_example(dataclasses.replace(config, data_seed=1), "train", 7),
        render_example(config, "test", 7),
        render_example(config, "train", 8),
    ]
    for other in others:
        assert (other["image"] != render_example(config, "train", 7)["image"]).mean() > 0.5
    # Another size shows the same world.
    large = render_example(dataclasses.replace(config, size=64), "train", 7)
    small = render_example(config, "train", 7)
    assert np.abs(large["depth"][::2, ::2] - small["depth"]).mean() < 0.5
    with pytest.raises(ValueError, match="split must be"):
        render_example(config, "val", 0)


def test_stored_normals_and_depth_are_close():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(64, 64, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[:4] = 0
    back = from_colors(encode_normals(normals))
    assert not back[:4].any()
    angle = np.degrees(np.arccos(np.clip((back * normals).sum(-1)[4:], -1, 1)))
    assert angle.max() < 0.5
    np.testing.assert_array_equal(encode_depth(np.float32([0, 1.2344, 59.9])), [0, 1234, 59900])


def test_workers_render_the_same_as_one_process():
    config = SceneConfig(family="pool", size=24, train=5)
    for example, index in zip(rendered_examples(config, "train", workers=2), range(5), strict=True):
        same(example, encoded_example(config, "train", index))


def test_a_broken_worker_is_an_error(monkeypatch):
    monkeypatch.setattr(synthetic_examples.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="before image 0"):
        list(rendered_examples(SceneConfig(family="single", train=4), "train", workers=2))


def test_rendering_needs_no_tensorflow():
    program = "import sys, must_keras.synthetic as s; sys.exit('tensorflow' in sys.modules)"
    path = subprocess.os.pathsep.join(p or "." for p in sys.path)
    environment = {**subprocess.os.environ, "PYTHONPATH": path}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0


def test_config_refuses_values_that_cannot_be_rendered():
    with pytest.raises(UserError, match="family must be one of"):
        SceneConfig(family="coco")
    with pytest.raises(UserError, match="at least 16"):
        SceneConfig(family="single", size=8)
    assert SceneConfig(family="single").name == "single-64px-seed0-2000-200-400"
    assert SceneConfig(family="single", validation=0).splits == {"train": 2000, "test": 400}


def test_builder_stores_images_in_order_and_loads_without_its_class(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    config = SceneConfig(family="crowd", size=32, train=6, validation=0, test=2)
    builder = Scenes(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    loaded = tfds.builder_from_directory(builder.data_dir)
    assert set(loaded.info.splits) == {"train", "test"}
    assert tuple(loaded.info.metadata["categories"]) == config.categories
    stored = list(tfds.as_numpy(loaded.as_dataset(split="train")))
    assert [e["id"].decode() for e in stored] == [f"crowd/train/{i:06d}" for i in range(6)]
    for index, example in enumerate(stored):
        rendered = render_example(config, "train", index)
        np.testing.assert_array_equal(example["image"], rendered["image"])
        np.testing.assert_array_equal(example["semantic"][..., 0], rendered["semantic"])
        same(example["objects"], rendered["objects"])
        assert example["class"] == rendered["class"]
        np.testing.assert_array_equal(example["depth"][..., 0], encode_depth(rendered["depth"]))
        np.testing.assert_array_equal(example["normals"], encode_normals(rendered["normals"]))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["single", "crowd", "rooms", "depth", "pool"])
def test_a_core_renders_100_images_a_second_at_96_pixels(family):
    config = SceneConfig(family=family, size=96)
    render_example(config, "train", 0)
    start = time.process_time()
    for index in range(1, 201):
        render_example(config, "train", index)
    assert 200 / (time.process_time() - start) >= 100
