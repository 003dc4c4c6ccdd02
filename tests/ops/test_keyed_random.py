import ast
import pathlib

import numpy as np
import tensorflow as tf

from must_keras.ops import sampling


def slow_mix(x: int) -> int:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return x ^ (x >> 16)


def test_numbers_equal_those_of_plain_integers():
    key, purpose, count = 12345, 7, 5
    row = slow_mix((slow_mix(key) + purpose) % 2**32)
    expected = [(slow_mix((slow_mix(c) + row) % 2**32) >> 8) / 2**24 for c in range(count)]
    drawn = sampling.uniform(tf.constant([key]), count, purpose=purpose)
    np.testing.assert_allclose(drawn[0], expected, rtol=0, atol=0)


def test_numbers_are_uniform_and_independent():
    drawn = sampling.uniform(tf.constant([0, 1, 2, -5]), 50_000, purpose=3).numpy()
    assert drawn.min() >= 0 and drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(1), 0.5, atol=0.01)
    np.testing.assert_allclose(drawn.std(1), 12**-0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(drawn), np.eye(4), atol=0.02)


def test_another_purpose_draws_other_numbers():
    keys = tf.constant([1, 2])
    a, b = (sampling.uniform(keys, 100, purpose=p).numpy() for p in (1, 2))
    assert not np.isclose(a, b).any(axis=1).all()
    assert abs(np.corrcoef(a[0], b[0])[0, 1]) < 0.3


def test_no_two_uses_have_one_purpose():
    """Two options of one training have the key of an example in common, and no number of it."""
    found: dict[int, list[str]] = {}
    for path in sorted(pathlib.Path(sampling.__file__).parents[1].rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = {
            keyword.value.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "purpose" and isinstance(keyword.value, ast.Name)
        }
        numbers = numbers_of(tree)
        for name in names & numbers.keys():
            found.setdefault(numbers[name], []).append(f"{path.stem}.{name}")
    assert len(found) > 15
    assert [uses for uses in found.values() if len(uses) > 1] == []


def numbers_of(tree: ast.Module) -> dict[str, int]:
    """Return {name: number} of a module's assignments, those of several names at once too."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names, value = node.targets[0], node.value
            is_several = isinstance(names, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(names.elts, value.elts, strict=True) if is_several else [(names, value)]
            for place, number in pairs:
                if isinstance(place, ast.Name) and isinstance(number, ast.Constant):
                    found[place.id] = number.value
    return found


def test_a_key_draws_the_same_in_any_batch():
    alone = sampling.uniform(tf.constant([9]), 10, purpose=1)
    together = sampling.uniform(tf.constant([3, 9]), 10, purpose=1)
    np.testing.assert_array_equal(alone[0], together[1])
