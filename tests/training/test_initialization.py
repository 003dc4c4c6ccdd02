"""Initializations: random weights, the backbone's checkpoint, a saved model."""

import keras
import numpy as np
import pytest

from fakes.random_examples import NETWORK
from must_keras.errors import UserError
from must_keras.inference.model import backbone_of
from must_keras.modeling.backbone import ResNet
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.tasks import Classification, Segmentation
from must_keras.training.building import build_model
from must_keras.training.initialization import (
    FromBackbone,
    FromCheckpoint,
    FromModel,
    FromScratch,
    copy_parts,
)
from must_keras.training.network import BACKBONE, NECK, Network

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
KIND = Classification(name="kind", classes=("a", "b", "c"))
PARTS = Segmentation(name="parts", classes=("x", "y"), channels=16, num_convs=1, loss_stride=2)


def build(seed, *tasks, network=NETWORK):
    return build_model(network, tasks, seed=seed, norm=NORM)


def same(one, other, part):
    weights = (model.get_layer(part).get_weights() for model in (one, other))
    return all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_parts_are_copied_where_both_have_them():
    one, other, classifier = build(1, PARTS), build(2, PARTS), build(3, KIND)
    assert copy_parts(one, other, (BACKBONE, NECK)) == [BACKBONE, NECK]
    assert same(one, other, BACKBONE) and same(one, other, NECK) and not same(one, other, "parts")
    assert copy_parts(one, classifier, (BACKBONE, NECK)) == [BACKBONE]


def test_another_network_does_not_fit():
    wide = Network(backbone=ResNet.small(), size=64)
    with pytest.raises(
        UserError, match="the backbone of the initialization has weights of other shapes"
    ):
        copy_parts(build(1, KIND), build(2, KIND, network=wide), (BACKBONE,))


def test_a_saved_model_gives_its_heads_for_the_same_task(tmp_path):
    trained = build(1, PARTS, KIND)
    trained.clean_copy().save(tmp_path / "model.keras")
    start = FromModel(tmp_path / "model.keras")
    model = build(2, PARTS)
    assert start.apply(model, NETWORK) == [BACKBONE, NECK, "parts"]
    assert same(model, trained, "parts") and same(model, trained, NECK)
    other_classes = Classification(name="kind", classes=("a", "b"))
    assert start.apply(build(2, other_classes), NETWORK) == [BACKBONE]
    assert len(start.depends_on(NETWORK)["sha256"]) == 64


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*gone.keras"):
        FromModel(tmp_path / "gone.keras").depends_on(NETWORK)
    backbone_of(build(1, KIND)).save(tmp_path / "backbone.keras")
    with pytest.raises(UserError, match="is no model that must_keras saved"):
        FromModel(tmp_path / "backbone.keras").apply(build(1, KIND), NETWORK)


def test_weights_of_the_same_network_are_a_start(tmp_path):
    trained = build(1, PARTS)
    trained.save_weights(tmp_path / "mine.weights.h5")
    start, model = FromModel(tmp_path / "mine.weights.h5"), build(2, PARTS)
    parts = start.apply(model, NETWORK)
    assert set(parts) == {BACKBONE, NECK, "parts"} and start.tell(parts).startswith(str(tmp_path))
    assert all(same(model, trained, part) for part in parts)
    with pytest.raises(UserError, match=r"mine.weights.h5 do not fit"):
        start.apply(build(2, KIND), NETWORK)


def test_the_backbone_of_another_run_is_a_start(tmp_path):
    trained = build(1, PARTS)
    trained.save(tmp_path / "model.keras")
    backbone_of(trained).save(tmp_path / "backbone.keras")
    for name in ("model.keras", "backbone.keras"):
        model = build(2, PARTS)
        assert FromBackbone(tmp_path / name).apply(model, NETWORK) == [BACKBONE]
        assert same(model, trained, BACKBONE) and not same(model, trained, NECK)
    (tmp_path / "junk.keras").write_text("junk")
    for start in (FromBackbone, FromModel):
        with pytest.raises(UserError, match="junk.keras cannot be read as a model"):
            start(tmp_path / "junk.keras").apply(build(2, PARTS), NETWORK)


def test_random_weights_stay_as_they_are():
    model, again = build(1, KIND), build(1, KIND)
    assert FromScratch().apply(model, NETWORK) == []
    assert same(model, again, BACKBONE)
    with pytest.raises(UserError, match="a FewLayers has no checkpoint"):
        FromCheckpoint().depends_on(NETWORK)


def test_an_exported_backbone_is_a_checkpoint(tmp_path):
    trained = build(1, KIND)
    exported = backbone_of(trained)
    exported.save(tmp_path / "backbone.keras")
    network = Network(backbone=KerasBackbone(path=tmp_path / "backbone.keras"), size=64)
    model = build(2, PARTS, network=network)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    expected = trained.get_layer(BACKBONE)(images)
    assert not np.allclose(model.get_layer(BACKBONE)(images)["C5"], expected["C5"])
    assert FromCheckpoint().apply(model, network) == [BACKBONE]
    for level, value in model.get_layer(BACKBONE)(images).items():
        np.testing.assert_allclose(value, expected[level], rtol=1e-5, atol=1e-5)
    assert len(FromCheckpoint().depends_on(network)["sha256"]) == 64
    keras.utils.clear_session(free_memory=False)
