"""One device, two devices and two processes train the same network, step by step."""

import numpy as np
import pytest

from processes import finish, load, start, start_workers, weights


def run_all(folder, dtype: str, kind: str = "equal") -> dict[str, dict[str, np.ndarray]]:
    single = start(folder, dtype, kind, "one", "mirrored")
    finish([single, *start_workers(folder, dtype, kind)])
    return load(folder, "one0", "mirrored0", "worker0", "worker1")


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("float64"), "float64")


def test_the_layouts_are_what_they_say(exact):
    assert [int(found["replicas"]) for found in exact.values()] == [1, 2, 2, 2]
    assert len(exact["one0"]["losses"]) == 20
    losses = exact["one0"]["losses"]
    assert (losses[0] != losses[-1]).all() and (losses > 0).any(axis=0).all()


@pytest.mark.parametrize("layout", ["mirrored0", "worker0"])
def test_losses_of_20_steps_are_equal(exact, layout):
    np.testing.assert_allclose(exact[layout]["losses"], exact["one0"]["losses"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("layout", ["mirrored0", "worker0"])
def test_learned_weights_are_equal(exact, layout):
    check_numbers(exact, layout, "loss_weights", (20, 5))


def check_numbers(found, layout: str, name: str, shape: tuple[int, int]) -> None:
    ours, wanted = found[layout][name], found["one0"][name]
    assert wanted.shape == shape and np.ptp(wanted, axis=1).max() > 0.01
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", ["mirrored0", "worker0", "worker1"])
def test_weights_after_20_steps_are_equal(exact, layout):
    """Running variances are up to 8: the 1e-8 is of them, as processors round differently."""
    for found, wanted in zip(weights(exact[layout]), weights(exact["one0"]), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


def test_replicas_predict_and_evaluate_as_one_device(exact):
    one, two = exact["one0"], exact["mirrored0"]
    assert one["predicted"].shape == (6, 3)
    np.testing.assert_allclose(one["predicted"], two["predicted"], atol=1e-8)
    np.testing.assert_allclose(one["means"], two["means"], atol=1e-8)


@pytest.mark.slow
def test_every_option_is_equal(tmp_path):
    """Shares and cosines are of gradients summed over replicas, not means of each one's own."""
    found = run_all(tmp_path, "float64", "every option")
    for layout in ("mirrored0", "worker0"):
        ours, wanted = found[layout]["losses"], found["one0"]["losses"]
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-8)
        check_numbers(found, layout, "loss_weights", (20, 6))
        check_numbers(found, layout, "looks", (2, 6 + 6 + 15))


@pytest.mark.slow
def test_streams_are_equal(tmp_path):
    """Views of all replicas are compared; running averages are those of the plain view."""
    found = run_all(tmp_path, "float64", "streams")
    for layout in ("mirrored0", "worker0", "worker1"):
        ours, wanted = weights(found[layout]), weights(found["one0"])
        for one, other in zip(ours, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
    for layout in ("mirrored0", "worker0"):
        ours, wanted = found[layout]["losses"], found["one0"]["losses"]
        assert wanted.shape == (10, 1 + 2 + 3) and (wanted > 0).all()
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-8)
        check_numbers(found, layout, "looks", (2, 5 + 5 + 10))


@pytest.mark.slow
def test_float32_begins_equal(tmp_path):
    """Later a proposal that flips at 1e-7 may change everything."""
    found = run_all(tmp_path, "float32")
    for layout in ("mirrored0", "worker0"):
        ours, wanted = found[layout]["losses"][:3], found["one0"]["losses"][:3]
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_all_layouts_keep_the_same_step(tmp_path):
    """The chief alone predicts; the weights of the step are those of every process."""
    found = run_all(tmp_path, "float64", "best")
    one = found["one0"]
    assert 0 < int(one["kept"]) < 14, "else the test proves little"
    for layout in ("mirrored0", "worker0", "worker1"):
        assert int(found[layout]["kept"]) == int(one["kept"])
        assert found[layout]["value"] == pytest.approx(float(one["value"]), abs=1e-8)
        for ours, wanted in zip(weights(found[layout]), weights(one), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-7)
