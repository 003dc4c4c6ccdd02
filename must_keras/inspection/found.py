"""What a format finds below a folder, before anything of it is read."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from must_keras.data.sources import ImagesOnly
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.code import Call
from must_keras.inspection.kinds import Kind
from must_keras.inspection.tree import Tree

WHOLE, TRAIN, VALIDATION, TEST = "", "train", "validation", "test"
# (name of the source, head, further arguments) to the call that makes the source.
Part = Callable[..., Call]


def part(target: Callable[..., Any], **arguments: Any) -> Part:
    """Return the part of a set that a source reads.

    Args:
        target: the source's class.
        arguments: its arguments without `name` and `head`.
    """

    def named(name: str, head: str, **more: Any) -> Call:
        # By default labels are for the head of the source's name.
        named_head = {} if head == name else {"head": head}
        return Call(target, {"name": name, **arguments, **named_head, **more})

    return named


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundSet:
    """A labeled set.

    Attributes:
        kind: of its labels.
        form: how it is stored, for a person: "a folder per class".
        place: folder or file that names it and that answers are about.
        parts: {"train", "validation", "test", or "" for all of it: its source}, in this order.
        takes_classes: whether its source takes the names of the classes.
        has_order: whether neighboring images may be frames of a film.
        remarks: what a person should know, sentences without their full stops.

    Example:
        FoundSet(kind=Classes(), form="a folder per class", place=pathlib.Path("species"),
                 parts={"": part(FolderPerClass, root=pathlib.Path("species"))})
    """

    kind: Kind
    form: str
    place: pathlib.Path
    parts: Mapping[str, Part]
    takes_classes: bool = False
    has_order: bool = True
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        order = (WHOLE, TRAIN, VALIDATION, TEST)
        ordered = {split: self.parts[split] for split in order if split in self.parts}
        object.__setattr__(self, "parts", ordered)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundPool:
    """Images without labels.

    Attributes:
        place: the folder that names them and that answers are about.
        part: their source.
        form: how they are stored, for a person.
        remarks: what a person should know, sentences without their full stops.

    Example:
        FoundPool.of_folder(pathlib.Path("photos"))
    """

    place: pathlib.Path
    part: Part
    form: str = "images"
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_folder(cls, path: pathlib.Path) -> Self:
        """Return the images of a folder and of those below."""
        return cls(place=path, part=part(ImagesOnly, root=path))


@dataclasses.dataclass
class Findings:
    """What one format found below a root, or all formats together.

    Attributes:
        sets: labeled sets.
        pools: images without labels.
        questions: what only a person can answer.
        unused: {path: why it is not used}.
        explained: folders that no other format needs to explain.

    Example:
        findings = Findings()
        findings.unused[pathlib.Path("boxes.csv")] = "boxes in CSV are not read"
    """

    sets: list[FoundSet] = dataclasses.field(default_factory=list)
    pools: list[FoundPool] = dataclasses.field(default_factory=list)
    questions: list[Question] = dataclasses.field(default_factory=list)
    unused: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)
    explained: set[pathlib.Path] = dataclasses.field(default_factory=set)

    def add(self, other: "Findings") -> None:
        """Add what another format found."""
        self.sets += other.sets
        self.pools += other.pools
        self.questions += other.questions
        self.unused |= other.unused
        self.explained |= other.explained


class Format(Protocol):
    """One way to store labels in folders.

    Example:
        findings = ClassFolders().find(Tree.of(pathlib.Path("garden")), Answers({}))
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        """Return what is stored this way among the folders that are not explained so far."""
        ...
