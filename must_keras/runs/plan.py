"""What a stage would do with every artifact of a run, before anything is written."""

import dataclasses
import enum
import functools
import itertools
import pathlib
import shlex
from collections.abc import Iterator, Sequence

from must_keras.errors import UserError, argument
from must_keras.runs import pools
from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage


class Action(enum.Enum):
    """What a stage does with an artifact, in the words of status.

    Example:
        Action.REUSE.value  # "reused"
    """

    KEEP = "complete"
    REUSE = "reused"
    RENEW = "outdated, is made again"
    MAKE = "not begun, will be made"
    RESUME = "begun, will be resumed"
    BLOCK = "must be made again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """An artifact and what a stage does with it.

    Attributes:
        artifact: as its stage declares it.
        action: what is done.
        why: why it must be made again, to follow its folder.
        without: the folder of what it was made from, where that alone is not there any more.
        other: the folder that it is reused from.

    Example:
        [item.artifact.name for item in plan.of(run, stages).items if item.action is Action.MAKE]
    """

    artifact: Artifact
    action: Action
    why: str = ""
    without: pathlib.Path | None = None
    other: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stage does.

    Attributes:
        items: every artifact that it makes or that these are made from.
        obstacle: why it stops before anything is written, and the ways out; None where it runs.

    Example:
        found = plan.of(run, stages.load(), "student")
        found.check()  # raises where something stops it
    """

    items: tuple[Planned, ...]
    obstacle: str | None

    def check(self) -> None:
        """Raise UserError where something stops it.

        Complete artifacts are not what the recipe asks for, or need others that are not made or
        must be made again; or a pool has images that a complete network was trained without.
        """
        if self.obstacle is not None:
            raise UserError(self.obstacle)

    def reuse(self) -> bool:
        """Copy what other runs have; return whether they have anything."""
        reused = [item.artifact for item in self.items if item.action is Action.REUSE]
        for artifact in reused:
            if artifact.restarts and artifact.made_from():
                artifact.begin()  # What an interrupted process left is in nobody's way.
            artifact.is_complete()
        return bool(reused)


def of(run: Run, stages: Sequence[Stage], name: str = "all", *, growth_stops: bool = True) -> Plan:
    """Return what a stage does with every artifact that it makes or needs; nothing is written.

    What another run has is read where it lies, as if it were reused.

    Args:
        run: with frozen pools (see runs.pools).
        stages: of the run, in order.
        name: of the stage; "all", or of one that needs everything: all artifacts.
        growth_stops: whether a pool that grew stops a stage that labels or learns from it.

    Raises:
        DataError: a file that records what an artifact was made from is damaged.
    """
    makers = [stage for stage in stages if name in ("all", stage.name)]
    if makers and name != "all" and list(makers[0].artifacts(run)):
        # An artifact needs none of later stages.
        stages = stages[: stages.index(makers[0]) + 1]
    looks_up = growth_stops and any(stage.reads_pools for stage in makers)
    grown = [change for change in pools.changes(run) if change.stops] if looks_up else []
    declared = list(_declared(run, stages))
    known, concerned = {artifact.folder for artifact in declared}, _concerned(declared, name)
    made_by = {artifact.stage for artifact in declared if artifact.folder in concerned}
    view = dataclasses.replace(run, stand_ins={})
    again: set[pathlib.Path] = set()
    items: list[Planned] = []
    for artifact in _declared(view, stages):
        # A reused student may declare rounds that were not known before.
        is_concerned = artifact.stage in made_by and artifact.folder not in known
        if not is_concerned and artifact.folder not in concerned:
            continue
        missing = [
            need
            for need in artifact.needs
            if need.folder in again
            or not (need.is_renewed or need.folder in view.stand_ins or need.is_there)
        ]
        item = _planned(artifact, grown, missing)
        if item.action is Action.BLOCK or (item.action is Action.RENEW and missing):
            again.add(artifact.folder)
        if item.other is not None:
            view.stand_ins[artifact.folder] = item.other
        items.append(item)
    obstacle = _grown(grown, run) if grown else _blocked(items, run)
    return Plan(items=tuple(items), obstacle=obstacle)


def _declared(run: Run, stages: Sequence[Stage]) -> Iterator[Artifact]:
    """All artifacts in the order in which they are made; those of further runs belong to it."""
    for stage in stages:
        if stage.is_wanted(run):
            yield from stage.artifacts(run)


def _concerned(declared: Sequence[Artifact], name: str) -> set[pathlib.Path]:
    """Return the folders of a stage's artifacts and of all that these are made from.

    Of a stage without artifacts, as the report: all folders.
    """
    by_folder = {artifact.folder: artifact for artifact in declared}
    pending = [artifact for artifact in declared if artifact.stage == name]
    found: set[pathlib.Path] = set()
    while pending:
        artifact = pending.pop()
        if artifact.folder not in found:
            found.add(artifact.folder)
            pending += [by_folder[n.folder] for n in artifact.needs if n.folder in by_folder]
    return found or set(by_folder)


def _planned(
    artifact: Artifact, grown: Sequence[pools.Change], missing: Sequence[Artifact]
) -> Planned:
    """Return what is done with an artifact.

    Args:
        artifact: as declared.
        grown: pools that have images which complete networks were trained without.
        missing: what it is made from and is not there, or must be made again.
    """
    planned = functools.partial(Planned, artifact=artifact)
    blocked = functools.partial(planned, action=Action.BLOCK)
    # What starts afresh does not mind what it left.
    is_compared = artifact.is_there or not artifact.restarts
    difference = artifact.difference() if is_compared else None
    if not artifact.is_there:
        if difference is not None:
            return blocked(why=f"contains unfinished work that was begun {difference}")
        other = artifact.reusable()
        if other is not None:
            return planned(action=Action.REUSE, other=other)
        if artifact.restarts:
            return planned(action=Action.MAKE)
        is_begun = artifact.made_from() is not None or any(artifact.folder.glob("**/progress.json"))
        return planned(action=Action.RESUME if is_begun else Action.MAKE)
    if artifact.is_renewed:
        is_outdated = missing or artifact.result_of(artifact.inputs) is None
        return planned(action=Action.RENEW if is_outdated else Action.KEEP)
    if difference is not None:
        return blocked(why=f"was made {difference}")
    networks = {network.artifact.folder for change in grown for network in change.networks}
    if artifact.folder in networks:
        return blocked(why=f"was made before {_sentences(grown)}")
    if not missing:
        return planned(action=Action.KEEP)
    folder = missing[0].folder
    if not missing[0].is_there:
        return blocked(why=f"was made without {folder}", without=folder)
    return blocked(why=f"was made from {folder}, which must be made again")


def _blocked(items: Sequence[Planned], run: Run) -> str | None:
    """Return what must be made again and the ways out; None where nothing must be."""
    blocked = [item for item in items if item.action is Action.BLOCK]
    if not blocked:
        return None
    folders = " ".join(shlex.quote(str(item.artifact.folder)) for item in blocked)
    first, stages = blocked[0], {item.artifact.folder: item.artifact.stage for item in items}
    ways = "Undo the change, choose"
    if first.without is not None:
        made_by = stages.get(first.without)
        # Another stage does not need what is blocked, and so can run alone.
        is_alone = made_by not in (None, first.artifact.stage)
        by = argument("stage", made_by or "")
        ways = f"Make that alone again by {by}, choose" if is_alone else "Choose"
    return (
        f"{first.artifact.folder} {first.why}. {ways} another `workdir` "
        f"({argument('reuse', run.path)} takes along what stays the same), or delete what must be "
        f"made again: {folders}"
    )


def _grown(grown: Sequence[pools.Change], run: Run) -> str:
    """Return what pools have that complete networks were trained without, and the ways out."""
    networks = dict.fromkeys(network.name for change in grown for network in change.networks)
    names, root = " and ".join(networks), run.path
    # The name of "." is none.
    old = root if root.name not in ("", "..") else root.resolve()
    free = (old.with_name(f"{old.name}-{number}") for number in itertools.count(2))
    new = next(path for path in free if not path.exists())
    changed = ", ".join(
        (argument("stage", "all"), argument("workdir", new), argument("reuse", root))
    )
    return (
        f"{_sentences(grown)} after {names} of {root} had been "
        "trained; nothing was changed. To label what is new and to train anew, run the same "
        f"again with {changed}, which takes along the teachers and their labels; to keep this run, "
        "take the new images out of the pool again, and put replaced or renamed ones back. The "
        "stages transfer, export and report work on this run as it is"
    )


def _sentences(grown: Sequence[pools.Change]) -> str:
    return " and ".join(change.sentence() for change in grown)
