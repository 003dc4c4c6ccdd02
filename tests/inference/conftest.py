"""One model of every task, as a run keeps and exports it, for all tests of inference."""

import numpy as np
import pytest

from fakes.random_examples import ALL, NETWORK, NORM
from must_keras.inference.model import export_saved_model
from must_keras.json_files import write_json
from must_keras.training.building import build_model


@pytest.fixture(scope="session")
def model():
    built = build_model(NETWORK, ALL, seed=0, norm=NORM)
    # A fresh detector is confident of nothing.
    for variable in built.get_layer("things").weights:
        if "class" in variable.path and variable.path.endswith("bias"):
            variable.assign(np.array([-2.0, 1.0, 2.0, 1.5], "float32"))
    return built


@pytest.fixture(scope="session")
def run(model, tmp_path_factory):
    """A run's folder as far as predicting needs it: a student and its export."""
    root = tmp_path_factory.mktemp("run")
    (root / "student").mkdir()
    model.save(root / "student" / "model.keras")
    export_saved_model(model, str(root / "export" / "saved_model"))
    labels = {
        t.name: {"kind": t.kind, "unit": t.unit, "classes": list(getattr(t, "classes", ()))}
        for t in ALL
    }
    write_json(root / "export" / "labels.json", labels)
    return root
