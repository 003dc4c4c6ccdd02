"""When a head of a student learned little, and which causes the numbers of a run point to."""

import dataclasses
import json

import pytest

from must_keras.analysis.shortfalls import Evidence, advice, find, kind_of, sentence
from must_keras.tasks import Classification  # noqa: F401 (declares its metrics)

NONE = Evidence(
    head="objects", metric="box_ap50", student=0.05, teacher=0.5, trivial=0.0, has_objects=True
)


@pytest.mark.parametrize(
    ("metric", "student", "teacher", "trivial", "kind"),
    [
        ("box_ap50", 0.0, 0.5, 0.0, "not_above_trivial"),
        ("box_ap50", 0.009, 0.003, 0.0, "not_above_trivial"),  # A hundredth is no gain.
        ("box_ap50", 0.011, 0.003, 0.0, None),
        ("top1", 0.1, 0.9, 0.16, "not_above_trivial"),
        ("top1", 0.5, 0.9, 0.16, "far_below_teacher"),  # 0.34 of 0.74 is less than a half.
        ("top1", 0.54, 0.9, 0.16, None),
        ("abs_rel", 0.4, 0.1, 0.3, "not_above_trivial"),
        ("abs_rel", 0.22, 0.1, 0.3, "far_below_teacher"),
        ("abs_rel", 0.19, 0.1, 0.3, None),
        ("top1", 0.2, None, 0.16, None),
        ("top1", 0.1, None, 0.16, "not_above_trivial"),
        ("top1", None, 0.9, 0.16, None),
        ("top1", 0.1, 0.9, None, None),
        ("top1", 0.2, 0.1, 0.16, None),  # Better than its teacher, which is no reason to worry.
    ],
)
def test_a_head_that_falls_short(metric, student, teacher, trivial, kind):
    given = Evidence(head="h", metric=metric, student=student, teacher=teacher, trivial=trivial)
    assert kind_of(given) == kind and (find(given) is None) == (kind is None)


CAUSES = {
    "inverted_depth": ({"correlation": -0.4}, "-0.40"),
    "weak_teacher": ({"teacher": 0.04, "student": 0.0}, "0.040"),
    "anchors": ({"misfits": ("anchor_scales=(32,) do not fit the boxes",)}, "(32,)"),
    "few_labels": ({"training_images": 60}, "60"),
    "short_training": ({"student_seen": 1000.0, "teacher_seen": 9600}, "9,600"),
    "low_loss_weight": ({"gradient_share": 0.01}, "1.0%"),
}
OF_OTHER_DOMAIN = [
    ({"true_frequencies": {"a": 2.0}, "pseudo_frequencies": {"a": 0.25}}, "0.25"),
    ({"true_frequencies": {"a": 2.0}, "pseudo_frequencies": {"a": 7.0}}, "7"),
    ({"true_frequencies": {"a": 1.0, "b": 1.0}, "pseudo_frequencies": {"a": 2.0}}, "50%"),
    ({"true_frequencies": {"a": 1.0}, "pseudo_frequencies": {"a": 0.0}}, "contain nothing"),
    ({"empty_share": 0.8, "true_empty_share": 0.1}, "80%"),
    ({"quality": 0.2}, "0.200"),
]


@pytest.mark.parametrize(
    ("cause", "numbers", "fact"),
    [(name, *given) for name, given in CAUSES.items()]
    + [("other_domain", *given) for given in OF_OTHER_DOMAIN]
    + [("few_labels", {"labeled_share": 0.04}, "4%")],
)
def test_a_cause_is_concluded_from_numbers_and_names_them(cause, numbers, fact):
    found = find(dataclasses.replace(NONE, **numbers))
    assert [one.name for one in found.likely] == [cause]
    assert fact in found.likely[0].text and found.likely[0].advice
    (line,) = advice(found.describe())
    assert line.startswith("Likely because ") and "To try: " in line and fact in line


def test_a_weak_teacher_is_no_evidence_of_another_domain():
    weak = dataclasses.replace(NONE, student=0.0, teacher=0.01, trivial=0.02, quality=0.0)
    assert [one.name for one in find(weak).likely] == ["weak_teacher"]


def test_amounts_are_named_by_their_unit():
    amounts = {"true_frequencies": {"a": 1.0}, "pseudo_frequencies": {"a": 0.31}}
    for has_objects, words in ((True, "0.31 objects per image"), (False, "for 31% of the pixels")):
        given = dataclasses.replace(NONE, has_objects=has_objects, **amounts)
        assert words in find(given).likely[0].text


def test_numbers_without_a_cause():
    """Numbers as those of a run in which the head learned as it should point to nothing."""
    usual = Evidence(
        head="objects", metric="box_ap50", student=0.05, teacher=0.5, trivial=0.0,
        training_images=2000, labeled_share=1.0, true_frequencies={"a": 1.0, "b": 1.2},
        pseudo_frequencies={"a": 0.8, "b": 0.7}, empty_share=0.2, true_empty_share=0.1,
        quality=0.45, gradient_share=0.2, student_seen=12800.0, teacher_seen=9600,
        correlation=0.7, threshold=0.3,
    )  # fmt: skip
    found = find(usual)
    assert found.likely == ()
    assert "Nothing in the data" in next(advice(found.describe()))


def test_what_is_said_of_a_shortfall():
    found = json.loads(json.dumps(find(NONE).describe()))
    assert found["kind"] == "far_below_teacher" and found["likely"] == []
    text = sentence(found)
    assert "'objects'" in text and "0.050" in text and "0.500" in text and "far below" in text
    below = find(dataclasses.replace(NONE, student=0.0, teacher=None)).describe()
    assert "is not above the trivial baseline, 0.000: box_ap50 is 0.000." in sentence(below)
    hardly = find(dataclasses.replace(NONE, student=0.004)).describe()
    assert "is hardly above the trivial baseline, 0.000: box_ap50 is 0.004." in sentence(hardly)
