"""Public sets in their own layouts: sources with numbers made by hand, and their splits."""

import json

import numpy as np
import pytest

from fakes import public_datasets
from must_keras.data import public_sets
from must_keras.data.sources import CocoPanoptic, Diode, ImagesOnly, Objects365, Subset, composition
from must_keras.errors import UserError
from must_keras.ops.masks import paste


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    public_datasets.folders(root)
    return root


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    public_datasets.tfds_sets(data_dir)
    return str(data_dir)


def ids(source):
    return [source.image_id(i) for i in range(len(source))]


def parts(sets):
    """The images of training, validation and test, which share none."""
    found = [set(ids(source)) for source in (sets.train, sets.validation, sets.test)]
    assert not found[0] & found[1]
    assert [len(part) for part in found] == [
        len(s) for s in (sets.train, sets.validation, sets.test)
    ]
    return found


# ---- COCO panoptic --------------------------------------------------------------------------------


def panoptic(root, numbers, segments, *, categories=((5, "cat"), (90, "sky"), (200, "rug"))):
    """A picture, its map of segments' numbers and what the JSON file says of them."""
    numbers = np.array(numbers)
    colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
    public_datasets.save(root / "images" / "1.jpg", np.zeros((*numbers.shape, 3), np.uint8))
    public_datasets.save(root / "maps" / "1.png", colors.astype(np.uint8))
    height, width = numbers.shape
    content = {
        # The images may stand last.
        "annotations": [
            {
                "image_id": 7, "file_name": "1.png",
                "segments_info": [{"id": i, "category_id": c, "iscrowd": 0} for i, c in segments],
            }
        ],
        "categories": [{"id": i, "name": name, "isthing": 1} for i, name in categories],
        "images": [
            {"id": 7, "file_name": "1.jpg", "height": height, "width": width},
            {"id": 8, "file_name": "2.jpg", "height": height, "width": width},
        ],
    }  # fmt: skip
    public_datasets.save(root / "images" / "2.jpg", np.zeros((*numbers.shape, 3), np.uint8))
    (root / "panoptic.json").write_text(json.dumps(content))
    return CocoPanoptic(
        name="p",
        images=root / "images",
        maps=root / "maps",
        annotations=root / "panoptic.json",
        head="map",
    )


def test_panoptic_numbers_have_three_bytes(tmp_path):
    # 3 = (3, 0, 0); 3 + 256 = (3, 1, 0); 3 + 65536 = (3, 0, 1); 16777215 = (255, 255, 255).
    numbers = [[3, 259, 65539, 16777215], [0, 0, 259, 3]]
    segments = [(259, 5), (3, 200), (16777215, 90), (65539, 5)]
    source = panoptic(tmp_path, numbers, segments)
    assert source.label_spaces["map"].classes == ("cat", "sky", "rug")
    expected = [[2, 0, 0, 1], [255, 255, 0, 2]]
    label = source.labels(0)["map"]["map"]
    assert label.dtype == np.uint8 and label.tolist() == expected
    # An image that no annotation names has no label.
    assert source.labels(1) == {} and ids(source) == ["1.jpg", "2.jpg"]


def test_a_segment_that_nobody_explains_is_told(tmp_path):
    with pytest.raises(
        UserError, match=r"1.png has segment 259 .1 pixels.* not in .*panoptic.json"
    ):
        panoptic(tmp_path, [[3, 259]], [(3, 5)]).labels(0)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([(3, 6)], "segment of 1.png 3 is of category 6, which is not listed"),
        ([(3, 5), (3, 90)], "has two segments 3"),
        ([(0, 5)], "has the id 0, expected a whole number from 1"),
    ],
)
def test_panoptic_files_that_do_not_fit(segments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        panoptic(tmp_path, [[3, 0]], segments)


def test_a_map_that_is_not_there_is_told_at_once(tmp_path):
    panoptic(tmp_path, [[3]], [(3, 5)])
    (tmp_path / "maps" / "1.png").rename(tmp_path / "maps" / "0.png")
    with pytest.raises(UserError, match=r"has the file_name '1.png', which is not in"):
        CocoPanoptic(
            name="p", images=tmp_path / "images", maps=tmp_path / "maps",
            annotations=tmp_path / "panoptic.json", head="map",
        )  # fmt: skip


def test_another_class_in_a_map_changes_the_description(tmp_path):
    first = panoptic(tmp_path, [[3, 4]], [(3, 5), (4, 90)]).describe()
    assert first == panoptic(tmp_path, [[3, 4]], [(3, 5), (4, 90)]).describe()
    assert first != panoptic(tmp_path, [[4, 3]], [(3, 5), (4, 90)]).describe()


def test_coco_has_maps_and_masks_of_the_same_images(root):
    sets = public_sets.coco(root / "coco", head="maps", instances_head="things", seed=0)
    names = parts(sets)
    assert [len(part) for part in names] == [11, 1, 6] and "000000000009.jpg" in names[2]
    assert sets.train.label_spaces["maps"].classes == ("person", "car", "banner", "rug-merged")
    assert sets.train.label_spaces["things"].classes == ("person", "car", "toothbrush")
    labels = sets.test.labels(3)
    seen = labels["maps"]["map"]
    assert (seen[:16] == 255).all() and (seen[16:, :32] == 0).all() and (seen[16:, 32:] == 3).all()
    label = labels["things"]
    assert label["classes"].tolist() == [2] and label["has_mask"].all()
    np.testing.assert_allclose(label["boxes"], [[16 / 48, 0, 1, 0.5]])
    mask = paste(label["masks"][0], [16, 0, 48, 32], (48, 64))
    assert mask[16:, :32].all() and mask.sum() == 32 * 32
    alone = public_sets.coco(root / "coco", head="maps", seed=0)
    assert set(alone.train.label_spaces) == {"maps"} and ids(alone.train) == ids(sets.train)


# ---- Objects365 ----------------------------------------------------------------------------------


def test_objects365_leaves_out_what_is_not_there(root, capsys):
    sets = public_sets.objects365(root / "objects365", head="boxes", seed=0)
    told = capsys.readouterr().err
    assert "1 of 12 images" in told and "patch16/objects365_v2_00000011.jpg" in told
    assert [len(part) for part in parts(sets)] == [10, 1, 6]
    classes = sets.train.label_spaces["boxes"].classes
    assert len(classes) == 365 and classes[:2] == ("thing 1", "thing 2")
    source = Objects365(
        name="o",
        images=root / "objects365" / "train",
        annotations=root / "objects365" / "annotations" / "zhiyuan_objv2_train.json",
        head="boxes",
    )
    assert source.num_absent == 1 and source.num_dropped == 0
    assert ids(source)[:2] == [
        "patch0/objects365_v1_00000000.jpg", "patch16/objects365_v2_00000001.jpg",
    ]  # fmt: skip
    label = source.labels(1)["boxes"]
    # x, y, width, height = 9, 4, 16, 32 in an image of 48 x 64.
    np.testing.assert_allclose(label["boxes"], [[4 / 48, 9 / 64, 36 / 48, 25 / 64]] * 2)
    assert label["classes"].tolist() == [1, 364]
    assert label["ignore"].tolist() == [False, True] and not label["has_mask"].any()
    np.testing.assert_allclose(
        source.image(0).mean(), public_datasets.photo(1000).mean(), atol=2
    )  # The photo of that image, as JPEG.


def tiny_objects365(root, annotations, images=None):
    public_datasets.save(root / "patch3" / "a.jpg", np.zeros((10, 20, 3), np.uint8))
    listed = [{"id": 5, "file_name": "images/v1/patch3/a.jpg", "height": 10, "width": 20}]
    content = {
        "categories": [{"id": 9, "name": "hat"}, {"id": 2, "name": "cup"}],
        "annotations": annotations,
        "images": listed if images is None else images,
    }
    (root / "a.json").write_text(json.dumps(content))
    return Objects365(name="o", images=root, annotations=root / "a.json", head="h")


def thing(box, category=9, image=5, **more):
    return {"image_id": image, "category_id": category, "bbox": box, **more}


def test_boxes_are_cut_to_the_image_and_those_without_an_area_counted(tmp_path, capsys):
    annotations = [
        thing([-2, 1, 6, 20], 9), thing([3, 3, 0, 4]), thing([25, 1, 4, 4]),
        thing([5, 2.5, 10, 5], 2, iscrowd=1),
    ]  # fmt: skip
    source = tiny_objects365(tmp_path, annotations)
    label = source.labels(0)["h"]
    np.testing.assert_allclose(label["boxes"], [[0.1, 0, 1, 0.2], [0.25, 0.25, 0.75, 0.75]])
    assert label["classes"].tolist() == [1, 0] and label["ignore"].tolist() == [False, True]
    assert source.num_dropped == 2 and "2 boxes have no area" in capsys.readouterr().err


def test_an_image_of_the_list_without_objects_is_one_without_objects(tmp_path):
    label = tiny_objects365(tmp_path, []).labels(0)["h"]
    assert label["boxes"].shape == (0, 4) and label["labelled"] == 1


@pytest.mark.parametrize(
    ("annotations", "images", "message"),
    [
        ([thing([1, 1, 2, 2], image=6)], None, "position 0 is of image 6, which is not listed"),
        ([thing([1, 1, 2, 2], 3)], None, "position 0 is of category 3, which is not listed"),
        ([{"image_id": 5, "category_id": 9}], None, "no 'bbox'"),
        ([], [], "lists no image"),
        (
            [], [{"id": 1, "file_name": "images/v1/patch7/b.jpg", "height": 4, "width": 4}],
            "none of the 1 images .*patch7/b.jpg",
        ),
    ],
)  # fmt: skip
def test_objects365_files_that_do_not_fit(annotations, images, message, tmp_path):
    with pytest.raises(UserError, match=message):
        tiny_objects365(tmp_path, annotations, images)


def test_an_image_of_another_size_is_told(tmp_path):
    images = [{"id": 5, "file_name": "images/v1/patch3/a.jpg", "height": 20, "width": 10}]
    source = tiny_objects365(tmp_path, [], images)
    with pytest.raises(UserError, match=r"is 20x10 pixels upright, .*a.json has 10x20"):
        source.labels(0)


# ---- DIODE ---------------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path):
    """One picture of 2 x 3 pixels with all of DIODE's labels."""
    folder = tmp_path / "val" / "indoors" / "scene_00019" / "scan_00183"
    stem = folder / "00019_00183_indoors_000_010"
    public_datasets.save(stem.with_suffix(".png"), np.zeros((2, 3, 3), np.uint8))

    def write(**labels):
        for end, values in labels.items():
            np.save(f"{stem}_{end}.npy", np.array(values))
        return tmp_path / "val"

    return write


def test_depth_is_meters_where_the_scanner_had_an_answer(scan):
    depth = np.float32([[[1.5], [2.0], [300.0]], [[0.0], [np.nan], [7.25]]])
    root = scan(depth=depth, depth_mask=np.float32([[1, 0, 1], [1, 1, 1]]))
    label = Diode(name="d", root=root, depth_head="far").labels(0)["far"]["depth"]
    assert label.dtype == np.float32
    assert label.tolist() == [[1.5, 0.0, 300.0], [0.0, 0.0, 7.25]]


def test_normals_are_turned_from_y_up_and_z_towards_us(scan):
    # A wall that faces us, a floor, a wall to our right that faces left; unknown; too long; none.
    given = [[[0, 0, 1], [0, 1, 0], [-0.8, 0, 0.6]], [[0, 0, 0], [0, 1.2, 1.6], [np.nan, 0, 1]]]
    root = scan(normal=np.float64(given))
    label = Diode(name="d", root=root, normals_head="n").labels(0)["n"]["normals"]
    expected = [[[0, 0, -1], [0, -1, 0], [-0.8, 0, -0.6]], [[0, 0, 0], [0, -0.6, -0.8], [0, 0, 0]]]
    assert label.dtype == np.float32
    np.testing.assert_allclose(label, expected, atol=1e-6)


def test_normals_that_point_away_are_told(scan):
    root = scan(normal=np.tile(np.float64([0, 0, -1]), (2, 3, 1)))
    source = Diode(name="d", root=root, normals_head="n")
    with pytest.raises(UserError, match="most normals point away from the camera"):
        source.labels(0)


@pytest.mark.parametrize(
    ("labels", "heads", "message"),
    [
        ({"depth": np.ones((2, 3, 1))}, {"depth_head": "d"}, r"has no \*_depth_mask.npy"),
        ({"depth": np.ones((2, 3, 1))}, {"normals_head": "n"}, r"has no \*_normal.npy"),
    ],
)
def test_a_folder_without_the_labels_is_told(labels, heads, message, scan):
    with pytest.raises(UserError, match=message):
        Diode(name="d", root=scan(**labels), **heads)


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (np.zeros((3, 2, 3)), "is 2x3 pixels, its image .* is 3x2"),
        (np.zeros((3, 2, 3), np.uint8), "holds uint8"),
        (np.zeros((2, 3)), "expected floats of shape"),
    ],
)
def test_normals_of_another_form(normal, message, scan):
    source = Diode(name="d", root=scan(normal=normal), normals_head="n")
    with pytest.raises(UserError, match=message):
        source.labels(0)


def test_whole_scenes_of_diode_validate(root):
    for seed in range(4):
        sets = public_sets.diode_normals(root / "diode", head="n", seed=seed)
        names = parts(sets)
        scenes = [{name.split("/")[1] for name in part} for part in names]
        assert len(scenes[1]) == 1 and not scenes[0] & scenes[1]
        assert [len(part) for part in names] == [8, 4, 4]
    label = sets.test.labels(0)["n"]["normals"]
    np.testing.assert_allclose(label[0, 20], [0, 0, -1])
    np.testing.assert_allclose(label[40, 20], [0, -0.8, -0.6], atol=1e-6)
    assert not label[:, :8].any()
    depth = public_sets.diode_depth(root / "diode", head="d", seed=0).test.labels(1)["d"]["depth"]
    assert depth[0, 10] == 2 and depth[40, 10] == 4.5 and not depth[:, :8].any()


# ---- the others ----------------------------------------------------------------------------------


def test_voc_maps_are_palettes_with_255_for_void(root):
    sets = public_sets.voc_maps(root / "VOCdevkit" / "VOC2012", head="m", seed=0)
    assert [len(part) for part in parts(sets)] == [9, 1, 6]
    assert (
        sets.train.label_spaces["m"].classes == public_sets.VOC_MAP_CLASSES
        and len(public_sets.VOC_MAP_CLASSES) == 21
    )
    seen = sets.test.labels(0)["m"]["map"]
    person = public_sets.VOC_MAP_CLASSES.index("person")
    assert (seen[10:30, 10:40] == person).all() and (seen[10:30, 40:44] == 255).all()
    assert not seen[:10].any()


def test_ade20k_ignores_other(root):
    sets = public_sets.ade20k(root / "ADEChallengeData2016", head="m", seed=0)
    assert [len(part) for part in parts(sets)] == [9, 1, 5]
    classes = sets.train.label_spaces["m"].classes
    assert len(classes) == 150 and classes[149] == "class 150, its synonym"
    seen = sets.test.labels(0)["m"]["map"]
    assert (seen[:20] == 255).all() and not seen[20:, :32].any() and (seen[20:, 32:] == 149).all()


def test_ade20k_needs_all_names(root, tmp_path):
    for folder in ("images", "annotations"):
        (tmp_path / folder).symlink_to(root / "ADEChallengeData2016" / folder)
    (tmp_path / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    with pytest.raises(UserError, match="names 1 classes, expected one a line"):
        public_sets.ade20k(tmp_path, head="m", seed=0)


def test_sets_of_tfds_are_split(tfds_dir):
    sizes = {}
    for name, sets in {
        "imagenet": public_sets.imagenet(head="h", seed=0, data_dir=tfds_dir),
        "cifar100": public_sets.cifar100(head="h", seed=0, data_dir=tfds_dir),
        "voc": public_sets.voc_boxes(head="h", seed=0, data_dir=tfds_dir),
        "nyu": public_sets.nyu_depth(head="h", seed=0, data_dir=tfds_dir),
    }.items():
        sizes[name] = [len(part) for part in parts(sets)]
    assert sizes == {
        "imagenet": [11, 1, 6], "cifar100": [11, 1, 6], "voc": [20, 2, 6], "nyu": [9, 1, 4],
    }  # fmt: skip


def test_labels_of_tfds_sets_are_as_written(tfds_dir):
    sets = public_sets.voc_boxes(head="h", seed=0, data_dir=tfds_dir)
    label = sets.test.labels(0)["h"]
    np.testing.assert_allclose(label["boxes"], [[0.25, 0.125, 0.75, 0.5]] * 2)
    assert label["ignore"].tolist() == [False, True]
    years = {name.split("/")[0] for name in ids(sets.train)}
    assert years == {"voc2007", "voc2012"}
    depth = public_sets.nyu_depth(head="h", seed=0, data_dir=tfds_dir).test.labels(0)["h"]["depth"]
    assert depth.shape == (480, 640) and depth[0, 0] == 4 and depth[479, 0] in (1, 2, 3)
    sets = public_sets.imagenet(head="h", seed=0, data_dir=tfds_dir)
    assert sets.train.label_spaces["h"].classes[0] == "n01440764"


def test_another_seed_validates_on_other_images(tfds_dir):
    one, two = (public_sets.cifar100(head="h", seed=s, data_dir=tfds_dir) for s in (0, 3))
    assert ids(one.validation) != ids(two.validation) and ids(one.test) == ids(two.test)


# ---- large sets ----------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    for i in range(40):
        public_datasets.save(tmp_path / f"{i:02}.png", np.zeros((2, 2, 3), np.uint8))
    return ImagesOnly(name="photos", root=tmp_path)


def test_validation_is_a_tenth_at_most(photos):
    test = Subset(photos, [0], name="test")
    assert len(public_sets.carved(photos, test, max_validation=3, seed=0).validation) == 3
    assert len(public_sets.carved(photos, test, max_validation=100, seed=0).validation) == 4


def test_images_are_chosen_by_the_seed(photos):
    assert public_sets.limited(photos, max_images=40, seed=0) is photos
    one, two = (public_sets.limited(photos, max_images=5, seed=s) for s in (0, 1))
    assert len(one) == len(two) == 5 and ids(one) != ids(two) and ids(one) == sorted(ids(one))
    assert one.name == "photos"


def test_long_subsets_are_described_by_a_digest(photos, monkeypatch):
    one = Subset(photos, [3, 1], name="s")
    assert one.describe()["indices"] == [3, 1]
    monkeypatch.setattr(composition, "_MAX_DESCRIBED_INDICES", 1)
    long = [Subset(photos, chosen, name="s").describe()["indices"] for chosen in ([3, 1], [1, 3])]
    assert all(isinstance(text, str) and len(text) == 64 for text in long) and len(set(long)) == 2
