"""The same network, losses and steps on JAX as on TensorFlow."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).with_name("backend.py")
# An interpreter with requirements-jax.txt; this one where it has JAX.
JAX = sys.executable if importlib.util.find_spec("jax") else os.environ.get("JAX_PYTHON")


def numbers(folder, python: str, backend: str) -> dict[str, np.ndarray]:
    """What backend.py finds."""
    path = os.pathsep.join(map(str, (PROGRAM.parents[2], PROGRAM.parents[1])))
    settings = {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1", "PYTHONPATH": path}
    command = [python, str(PROGRAM), str(folder)]
    run = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return dict(np.load(folder / f"{backend}.npz"))


@pytest.mark.slow
@pytest.mark.skipif(JAX is None, reason="JAX is neither here nor at JAX_PYTHON")
def test_four_tasks_have_equal_losses_gradients_and_steps(tmp_path):
    """In float64, but for the constants of Keras' Normalization: float32 on JAX, 1e-7 of the image.

    AdamW's first step is a gradient's sign, so that 1e-9 beside 0 is a whole step: only what comes
    of all weights together is compared.
    """
    wanted = numbers(tmp_path, sys.executable, "tensorflow")
    found = numbers(tmp_path, JAX, "jax")
    kept, loss = found.pop("kept"), found.pop("not finite")
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if key.startswith("loss"):
            np.testing.assert_allclose(found[key], value, rtol=3e-6, err_msg=key)
        elif key.startswith("gradient"):
            limit = 1e-5 * max(np.abs(value).max(), 1.0)
            np.testing.assert_allclose(found[key], value, rtol=0, atol=limit, err_msg=key)
        elif key.startswith("sgd"):
            # 1e-7 of the image grows from step to step: the second gradient's norm differs by 3e-5
            # of it, and weights after two steps by 3e-5.
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=5e-5, err_msg=key)
        elif key.startswith("adamw numbers"):
            np.testing.assert_allclose(found[key], value, rtol=1e-3, err_msg=key)
    assert max(np.abs(found[k]).max() for k in found if k.startswith("gradient")) > 1.0
    assert np.isnan(loss) and kept.all()
