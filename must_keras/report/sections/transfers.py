"""The sections of the report on transfer runs: verdict, overview, tables, predictions."""

import collections
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from must_keras.analysis import comparison, curves
from must_keras.report import html
from must_keras.report.results import RunResults
from must_keras.runs.results import size_name
from must_keras.tasks.evaluation import find_metric
from must_keras.training.network import NECK

Rows = Sequence[Mapping[str, Any]]

_MEANS = {
    "with_task": "mean normalized gain",
    "without_task": "mean normalized gain where no start is marked *",
}


def conclusion(results: RunResults) -> Iterator[Markup]:
    """Yield how the student compares with the other starts, in one paragraph.

    Example:
        list(conclusion(RunResults(run=run, report=report)))
    """
    text = " ".join(verdicts(results.report))
    yield Markup('<p class="verdict">{}</p>\n').format(text)


def overview(results: RunResults) -> Iterator[Markup]:
    """Yield the method from labeled sets to transfer runs, with the headline of each stage.

    Example:
        list(overview(RunResults(run=run, report=report)))
    """
    report, teachers = results.report, results.teachers()
    student, sets = report["student"], {row["set"] for row in report["transfers"]}
    made = ["not complete"]
    if student:
        size = f"{student['parameters']:,} parameters, {student['images_seen']:,} images seen"
        made = [size, *(_headline(student["tasks"].get(r["task"]), r) for _, r in teachers)]
    counts = [
        f"{name}: {sum(result['labelled'] for result in by_source.values()):,} images"
        for name, by_source in report["labels"].items()
    ]
    runs = f"{len(report['transfers'])} on {comparison.plural(len(sets), 'downstream set')}"
    steps = {
        "labels of": [", ".join(result["task"] for _, result in teachers)],
        "1 teachers": [_headline(result, result) for _, result in teachers],
        "2 pseudo labels": counts,
        "3 student": made,
        "4 transfer runs": [runs],
    }
    template = Markup("<div><b>{}</b>{}</div>\n")
    boxes = [template.format(t, Markup("<br>").join(filter(None, s))) for t, s in steps.items()]
    yield Markup('<div class="flow">\n{}</div>\n').format(Markup("<i>→</i>\n").join(boxes))


_EPISODES = (
    "± is the 95 % interval of the mean over the episodes, which are the same for all starts. It "
    "is no interval over trainings: the same start trained with another seed can be farther away."
)


def protocols(results: RunResults) -> Iterator[Markup]:
    """Yield a table and the comparison of starts of every protocol, and low-shot curves.

    Example:
        list(protocols(RunResults(run=run, report=report)))
    """
    transfers, compared = results.report["transfers"], results.report["comparisons"]
    if not transfers:
        return
    titles = {str(protocol): protocol.title() for protocol in results.recipe.protocols}
    for name, rows in comparison.by_protocol(transfers).items():
        yield html.heading(titles.get(name, name))
        yield _table(results, rows, compared[name])
        if any(row.get("episodes") for row in rows):
            yield html.paragraph(_EPISODES)
        yield html.bullets(comparison.sentences(compared[name]))
        yield _sweeps(rows)
    yield html.charts(_low_shot(transfers))
    yield html.paragraph(_legend(results.recipe.transfer_seeds))


def _table(results: RunResults, rows: Rows, compared: Mapping[str, Any]) -> Markup:
    starts, foot = results.recipe.start_names, []
    lines = [_line(*of_set, results, compared["sets"]) for of_set in _by_set(rows).items()]
    for key, title in _MEANS.items():
        values = [compared["means"].get(start, {}).get(key) for start in starts]
        texts = [None if value is None else f"{value:+.3f}" for value in values]
        sets = comparison.plural(len(compared[f"sets_{key}"]), "set")
        foot.append((f"{title} ({sets})", texts))
    foot.append(("images that the start was trained on", list(map(results.images_seen, starts))))
    foot.append(("weights copied from the start", [_copied(rows, start) for start in starts]))
    return html.table(["downstream set", "metric", "trivial baseline", *starts], lines, foot)


def _legend(transfer_seeds: int) -> Markup:
    seeds = " Several seeds: mean ± sample standard deviation (number of seeds)."
    return Markup(
        'Bold: the best value of a row. ↓: lower is better. <span class="aligned"></span>: the '
        "start was trained on this kind of task or on these images; hover over a value for "
        "details. Every transfer run has a freshly initialized head, and freshly initializes "
        "the weights that are not copied.{} The normalized gain is (value − random) / "
        "(1 − random), the closed share of the gap between the random start and a perfect "
        "score. It is averaged over the sets that are scored for every start and whose images "
        "no start was trained on."
    ).format(seeds if transfer_seeds > 1 else "")


def downstream_predictions(results: RunResults) -> Iterator[Markup]:
    """Yield predictions on every downstream set, from random weights and from the student.

    Example:
        list(downstream_predictions(RunResults(run=run, report=report)))
    """
    shown = []
    for one in results.transfer_runs():
        is_first = one.seed == 0 and one.protocol == results.recipe.protocols[0]
        if not is_first or one.start.name not in ("random", "student"):
            continue
        picture = results.picture(one.read(results.run), one.transfer.task)
        caption = f"{one.transfer.name} from {one.start.name}: image, ground truth, prediction"
        shown += [html.task_photo(picture, caption, one.transfer.task)] if picture else []
    yield html.figures(shown)


def verdicts(report: Mapping[str, Any]) -> list[str]:
    """Return one verdict on all transfer runs, or one for each of several protocols, and how sure.

    The last sentence, of any number of protocols, states what a confidence interval needs.
    """
    found = comparison.by_protocol(report["transfers"])
    if len(found) < 2:
        texts = [verdict(report["transfers"])]
    else:
        texts = [f"{name}: {verdict(rows)}" for name, rows in found.items()]
    starts = {row["start"] for row in report["transfers"]}
    return [*texts, comparison.ONE_RUN] if "student" in starts and len(starts) > 1 else texts


def verdict(rows: Rows) -> str:
    """Return how the student compares with the other starts, and what is left out.

    Args:
        rows: transfer runs of one protocol. A set counts only where neither the student nor the
            starts that it is compared with were trained on its images.
    """
    sets = comparison.compare(rows)["sets"]
    teachers = {row["start"] for row in rows if row["start"].startswith("teacher-")}
    best_teacher = "the best teacher" if len(teachers) > 1 else "the teacher"
    better, by_student, by_rival = [], [], []
    for title, starts in {"random weights": {"random"}, best_teacher: teachers}.items():
        wins = []
        for name, of_set in sets.items():
            scores = _scores(of_set)
            rivals = starts & scores.keys()
            if "student" not in scores or not rivals:
                continue
            trained = {s for s in scores if of_set["starts"][s]["aligned"] in ("images", "set")}
            if "student" in trained:
                by_student.append(name)
            elif rivals & trained:
                by_rival.append(name)
            else:
                wins.append(scores["student"] > max(scores[rival] for rival in rivals))
        if wins:
            better.append(f"better than from {title} on {sum(wins)} of {len(wins)}")
    found = []
    if better:
        found = [f"Transfer from the student is {' and '.join(better)} downstream sets."]
    elif by_student or by_rival:
        found = ["The student cannot be compared with another start on any downstream set."]
    found += _left_out(by_student, "", "the student")
    found += _left_out(by_rival, " of the comparison with the teachers", "a teacher")
    return " ".join(found) or "There is no transfer run from the student to compare."


def _left_out(sets: Sequence[str], of: str, who: str) -> list[str]:
    names = list(dict.fromkeys(sets))
    count, its = ("1 set is", "its") if len(names) == 1 else (f"{len(names)} sets are", "their")
    reason = f"because {who} was trained on {its} images: {', '.join(names)}."
    return [f"{count} left out{of}, {reason}"] if names else []


def _by_set(rows: Rows) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Return {set: {start: the rows of all seeds}}."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        found.setdefault(row["set"], {}).setdefault(row["start"], []).append(row)
    return found


def _scores(of_set: Mapping[str, Any]) -> dict[str, float]:
    """Return {start: value} of a set's starts that could be scored, negated where lower is better.

    Args:
        of_set: one of the "sets" of `comparison.compare`.
    """
    values = {start: found["value"] for start, found in of_set["starts"].items()}
    signed = find_metric(of_set["metric"]).signed
    return {start: signed(value) for start, value in values.items() if value is not None}


def _headline(result: Mapping[str, Any] | None, teacher: Mapping[str, Any]) -> str | None:
    """Return the first metric of a teacher's head; None where it is not scored."""
    found = next(iter(result["metrics"].items()), None) if result else None
    return f"{teacher['task']}: {found[0]} {html.number(found[1])}" if found else None


def _line(
    name: str, by_start: Mapping[str, Rows], results: RunResults, compared: Mapping[str, Any]
) -> list[str | html.Cell]:
    """Return a set's row of the transfer table, with a cell for every start."""
    of_set, several = compared[name], results.recipe.transfer_seeds > 1
    scores, cells = _scores(of_set), []
    for start in results.recipe.start_names:
        is_best = start in scores and scores[start] == max(scores.values())
        found = of_set["starts"].get(start, {})
        cells.append(_cell(by_start.get(start, []), is_best, several, found.get("gain")))
    trivial = next(iter(by_start.values()))[0]["trivial"]
    return [name, html.metric_title(of_set["metric"]), trivial, *cells]


def _cell(rows: Rows, is_best: bool, several: bool, gain: float | None) -> html.Cell:
    """Return the value of a set from one start: the mean over the seeds that could be scored."""
    values = [row["value"] for row in rows if row["value"] is not None]
    if not values:
        return html.Cell(None)
    text = html.number(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {html.number(statistics.stdev(values))}"
    episodes = rows[0].get("episodes")
    if episodes and len(rows) == 1:
        text += f" ± {html.number((episodes['high'] - episodes['low']) / 2.0)}"
    if several:
        text += f" ({len(values)})"
    first = rows[0]
    classes = ["best"] * is_best + ["aligned"] * (first["aligned"] != "none")
    hint = (
        f"{len(values)} seed(s), {first['images']} images, {first['steps']} steps, learning rate "
        f"{first['learning_rate']:g}, normalized gain {html.number(gain)}, aligned: "
        f"{first['aligned']}, copied: {_named(first['copied']) or 'nothing'}, {first['mode']}, "
        f"neck {first['neck']}, shots {size_name(first['shots'], first.get('samples'))}"
    )
    return html.Cell(text, " ".join(classes), hint)


def _copied(rows: Rows, start: str) -> str:
    """Return the parts of the network whose weights the transfer runs copied from a start."""
    sets = {row["set"]: row["copied"] for row in rows if row["start"] == start}
    if not sets:
        return "–"
    counts = collections.Counter(part for parts in sets.values() for part in parts)
    texts = [
        _named([part]) + (f" ({count} of {len(sets)} sets)" if count < len(sets) else "")
        for part, count in counts.items()
    ]
    return ", ".join(texts) or "nothing"


def _named(parts: Sequence[str]) -> str:
    return ", ".join("pyramid" if part == NECK else part for part in parts)


def _sweeps(rows: Rows) -> Markup:
    """Return the learning-rate sweeps of a protocol, folded; "" without any."""
    lines = []
    for row in rows:
        if row.get("sweep"):
            rates = [
                Markup("<b>{}</b>" if tried["chosen"] else "{}").format(
                    f"{tried['learning_rate']:g}: {html.number(tried['value'])}"
                )
                for tried in row["sweep"]
            ]
            line = (row["set"], row["start"], html.metric_title(row["metric"]))
            lines.append((*line, str(row["validation_images"]), Markup("; ").join(rates)))
    head = ["downstream set", "start", "metric", "validation images", "learning rate: value"]
    summary = "Learning-rate sweeps: values on validation, the chosen rate in bold"
    return html.folded(summary, html.table(head, lines)) if lines else Markup("")


def _low_shot(rows: Rows) -> Iterator[Figure]:
    """Yield a chart of every set that was transferred to with several numbers of images."""
    for name, by_start in _by_set([row for row in rows if row["value"] is not None]).items():
        means = {start: _means(of_start) for start, of_start in by_start.items()}
        if any(len(points) > 1 for points in means.values()):
            y = next(iter(by_start.values()))[0]["metric"]
            yield curves.lines(name, means, y, x="labeled images", xscale="log")


def _means(rows: Rows) -> list[tuple[int, float]]:
    """Return (labeled images, mean value) of each number of images, in ascending order."""
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row["images"], []).append(row["value"])
    return [(images, statistics.fmean(of_images)) for images, of_images in sorted(values.items())]
