import dataclasses

import pytest

from must_keras.errors import UserError
from must_keras.workdir import Part, Workdir, describe


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int
    rates: tuple[float, ...]


def test_a_part_is_finished_only_when_it_says_so(tmp_path):
    part = Workdir(tmp_path).teacher("a")
    assert part.result() is None
    assert not part.is_finished(Run(3, (0.1,)))
    part.begin()
    (part.folder / "half").write_text("x")
    assert part.result() is None
    part.finish(Run(3, (0.1,)), {"value": float("nan")})
    assert part.is_finished(Run(3, (0.1,)))
    assert part.result() == {"value": None}


def test_other_inputs_are_named(tmp_path):
    part = Part(tmp_path / "p")
    part.begin()
    part.finish({"training": Run(3, (0.1, 0.2))}, {})
    with pytest.raises(UserError, match=r"training.rates\[1\] = 0.2, the recipe now says 0.3"):
        part.is_finished({"training": Run(3, (0.1, 0.3))})


def test_describe_makes_plain_data():
    assert describe({"a": Run(1, (2.0,)), "b": None}) == {
        "a": {"type": "Run", "steps": 1, "rates": [2.0]},
        "b": None,
    }
    with pytest.raises(TypeError, match="cannot describe object"):
        describe(object())
