"""A recipe: the values of a whole run, from the first teacher to the last transfer."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from must_keras import naming
from must_keras.config.episodes import Episodes
from must_keras.config.imported_labels import ImportedLabels
from must_keras.config.pools import Pool
from must_keras.config.source_names import check_named, distinct, names_of
from must_keras.config.student import Labeler, Student, check_start
from must_keras.config.teachers import AnyTeacher, ExternalTeacher, Teacher
from must_keras.config.transfers import Aligned, Mode, Neck, Protocol, Transfer, TransferStart
from must_keras.data.label_checks import check_sets
from must_keras.data.sources import Source, pool_name
from must_keras.errors import UserError, expect, expect_each, nearest
from must_keras.exports import ExportFormat
from must_keras.self_supervised import SelfSupervised
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.loss_weights import Weight
from must_keras.training.network import BACKBONE, Network
from must_keras.training.self_labeled import SelfLabeled

# With the parts that have files of their own.
__all__ = (
    "Aligned", "AnyTeacher", "ExternalTeacher", "ImportedLabels", "Labeler", "Pool", "Recipe",
    "Student", "Teacher", "Transfer",
)  # fmt: skip

# Names of starts that no self-supervised method can have.
_OWN_STARTS = ("random", "checkpoint", "student", "rounds", "supervised", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The values of a run.

    Attributes:
        name: of the run, in its report.
        seed: of initial weights, order, views and sampling.
        network: backbone and pyramid of the student and the transfers, and of teachers without
            one of their own.
        teachers: one for every head of the student.
        pools: what the teachers label.
        student: the student and its training.
        transfers: the downstream sets.
        starts: "random", "checkpoint" (the backbone's own), "student", "teacher-<name>",
            "rounds", "supervised", a self-supervised method's name: what transfers start from.
        rounds: largest number of students, each of which replaces the trained teachers for the
            next; see stages.rounds. 1: the student alone.
        labelers: the students of the first rounds, which have networks of their own; `student`
            comes after them. Its later rounds alone end where one is not better.
        supervised: training config of the fully supervised baseline, or None to skip it.
        selfsup: methods that pretrain the backbone on the student's images without labels. Of
            these, of `rounds` and of `supervised`, what is not among `starts` is not trained.
        transfer_seeds: number of repetitions of each transfer with other random numbers.
        neck: see Protocol.
        mode: see Protocol.
        shots: numbers of labeled images of transfers, one protocol each: see Protocol.
        samples: numbers of labeled images in all, further protocols before those of `shots`.
        episodes: of the mode "episodes".
        evaluation_batch: number of images in a batch of an evaluation.
        max_unreadable: share of a source's images that may be unreadable; more end the labeling,
            or the training and scoring on a labeled set.
        data_licenses: {source: the license of its data}, which model cards state; a training set's
            is also that of its other splits, where they have none. None: nothing is stated.
        exports: formats of other runtimes that the student is exported to: Onnx(), LiteRT().

    Raises:
        UserError: a value is of another type or range, names clash, or a set does not fit its task.

    Example:
        mk.Recipe(name="mine", seed=0, network=network, teachers=(teacher,), pools=(pool,),
                  student=mk.Student(training=training), transfers=(), starts=("random", "student"))

    """

    name: str
    teachers: tuple[AnyTeacher, ...]
    seed: int = 0
    network: Network = dataclasses.field(default_factory=Network)
    pools: tuple[Pool, ...] = ()
    student: Student = dataclasses.field(default_factory=Student)
    transfers: tuple[Transfer, ...] = ()
    starts: tuple[str, ...] = ("random", "student")
    rounds: int = 1
    labelers: tuple[Labeler, ...] = ()
    supervised: TrainingConfig | None = None
    selfsup: tuple[SelfSupervised, ...] = ()
    transfer_seeds: int = 1
    neck: Neck = "fpn"
    mode: Mode = "full"
    shots: tuple[int | None, ...] = (None,)
    samples: tuple[int, ...] = ()
    episodes: Episodes = dataclasses.field(default_factory=Episodes)
    evaluation_batch: int = 32
    max_unreadable: float = 0.1
    data_licenses: Mapping[str, str] | None = None
    exports: tuple[ExportFormat, ...] = ()

    def __post_init__(self) -> None:
        where = f"recipe {self.name}"
        expect(where, self, network=Network, student=Student, starts=tuple | list)
        expect(where, self, supervised=TrainingConfig | None, episodes=Episodes)
        kinds = {"teachers": AnyTeacher, "pools": Pool, "transfers": Transfer, "shots": int | None}
        kinds["samples"] = int
        forms = {"labelers": Labeler, "exports": ExportFormat}
        expect_each(where, self, **kinds, **forms, selfsup=SelfSupervised)
        self._check_names(where)
        for transfer in self.transfers:
            for start in transfer.aligned:
                if start not in (*self._starts, "checkpoint"):
                    raise UserError(
                        f"transfer {transfer.name!r}: aligned names the start {start!r}; "
                        f"{nearest(start, tuple(self._starts))}"
                    )
            transfer.check_mode(self.mode, self.episodes)
            transfer.check_samples(self.samples)
        for kind, items in {"teacher": self.teachers, "transfer": self.transfers}.items():
            for item in items:
                check_sets(f"{kind} {item.name!r}", item.sets, item.task)
        for pool in self.pools:
            pool.check_heads([task.name for task in self.tasks])
        for teacher in self.teachers:
            teacher.check_pools([pool.source for pool in self.pools])
            self._check_labels_of(teacher)
        if self.data_licenses is not None:
            expect(where, self, data_licenses=Mapping)
            what = f"{where}: data_licenses names the source "
            check_named(self.data_licenses, self.sources, what, key="data_licenses")
        if self.student.repeats:
            what = "the student: repeats names the source "
            check_named(self.student.repeats, self.student_sources, what, key="repeats")
        self._check_sources_of(self.student.self_labeled)
        measured = [teacher.task for teacher in self.teachers if teacher.sets is not None]
        self.student.training.check_heads("the student", self.tasks, measured=measured)
        if self.student.repeat_factors is not None:
            self.student.repeat_factors.check("the student", self.tasks)
        self.student.check_dropping(len(self.teachers))
        if self.student.equal_sources:
            self.student.check_sources(names_of(self.student_sources))
        for one in (self.student, *self.labelers):
            check_start(one.start, self.trained_teachers, rounds=self.rounds)
        if self.supervised:
            heads = [teacher.task for teacher in self.labeled_teachers]
            self.supervised.check_heads("the supervised baseline", heads)
        for method in self.selfsup:
            method.training.check_heads(f"self-supervised method {method.name!r}", ())
            self._check_sources_of(method.heads)
        if len(set(self.samples)) < len(self.samples):
            raise UserError.of(where, "samples", self.samples, "different numbers are needed")
        if not self.protocols or len(set(self.protocols)) < len(self.protocols):
            raise UserError.of(where, "shots", self.shots, "different numbers, at least one")
        if self.rounds < 1 or (self.rounds > 1 and not self.trained_teachers):
            raise UserError(
                f"{where}: rounds={self.rounds}: at least 1, and more than 1 only where a teacher "
                "is trained whom a student can stand for"
            )
        for one in self.exports:
            one.check_heads([task.name for task in self.tasks])
        if self.transfer_seeds < 1:
            raise UserError.of("", "transfer_seeds", self.transfer_seeds, "at least 1 is needed")
        allowed = (*self._starts, "all")
        for start in self.starts:
            if start not in allowed:
                why = self._other_networks.get(start) or nearest(start, allowed)
                raise UserError(f"starts={start}: {why}")
        if self.labelers:
            self._check_labelers(where)

    def _check_labelers(self, where: str) -> None:
        """Raise UserError where the last labeler labels for no student."""
        count = len(self.labelers)
        if self.rounds <= count:
            problem = f"at least {count + 1} are needed: `labelers` are the students of {count}"
            raise UserError.of(where, "rounds", self.rounds, problem)
        if "rounds" not in self.start_names:
            problem = "with labelers the student is that of the rounds: add 'rounds'"
            raise UserError.of(where, "starts", self.starts, problem)

    def _check_names(self, where: str) -> None:
        """Raise UserError where a name cannot be stored, or two are one on some file systems."""
        trained = [t.sets.train.name for t in self.trained_teachers]
        pools = names_of(pool.source for pool in self.pools)
        kinds = {
            "teacher": [t.name for t in self.teachers],
            "transfer": [t.name for t in self.transfers],
            "source": list(dict.fromkeys(trained + pools)),
        }
        for kind, names in kinds.items():
            for name in names:
                naming.check_name(name, f"{where}: {kind}")
            naming.check_distinct(names, where, f"{kind}s")
        naming.check_distinct([p.source.name for p in self.pools], where, "pools")
        naming.check_distinct([one.name for one in self.exports], where, "exports")
        # Only pools of files grow: see runs.pools.
        growing = [p.source for p in self.pools if p.truth is None and p.source.file(0) is not None]
        naming.check_blocks([pool_name(s) for s in growing], kinds["source"], where)
        heads = [task.name for task in (*self.tasks, *self.student.self_labeled)]
        for head in (*heads, *(t.task.name for t in self.transfers)):
            naming.check_head(head, where)
        naming.check_distinct(heads, where, "heads")
        naming.check_pairs(heads, where)
        naming.check_distinct([m.name for m in self.selfsup], where, "self-supervised methods")
        for method in self.selfsup:
            # It is a start, a folder and a loss.
            naming.check_head(method.name, where, "a self-supervised method")
            start = method.name.casefold()
            if start in _OWN_STARTS or start.startswith("teacher-"):
                raise UserError(
                    f"{where}: a self-supervised method cannot be named {method.name!r}, which is "
                    "another start; choose another name"
                )

    @functools.cached_property
    def _starts(self) -> dict[str, TransferStart]:
        """Every start that a transfer of the recipe can have, by name."""
        found = [TransferStart("random", copies=())]
        if self.network.backbone.has_checkpoint:
            found.append(TransferStart("checkpoint", copies=(BACKBONE,)))
        for one in self.trained_teachers:
            folder = ("teachers", one.name)
            found.append(TransferStart(f"teacher-{one.name}", folder, "teacher", (one,)))
        networks = {"student": self.teachers}
        networks |= {"rounds": self.teachers} if self.rounds > 1 else {}
        networks |= {"supervised": self.labeled_teachers} if self.supervised else {}
        found += [TransferStart(name, (name,), name, of) for name, of in networks.items()]
        found += [TransferStart(m.name, ("selfsup", m.name), "selfsup") for m in self.selfsup]
        return {start.name: start for start in found if start.name not in self._other_networks}

    @functools.cached_property
    def _other_networks(self) -> dict[str, str]:
        """{start: why transfers, which have the recipe's network, cannot start from it}."""
        names = [f"teacher-{t.name}" for t in self.trained_teachers if t.network is not None]
        found = dict.fromkeys(names, "the teacher has a network of its own, transfers the recipe's")
        if self.labelers:
            found["student"] = (
                "the first student has the network of labelers[0], transfers the recipe's; "
                "'rounds' has it too"
            )
        return found

    @property
    def first_student(self) -> Labeler:
        """Network and initialization of the student that learns from the teachers' labels."""
        own = Labeler(network=self.network, start=self.student.start)
        return self.labelers[0] if self.labelers else own

    @property
    def trained_teachers(self) -> tuple[Teacher, ...]:
        """The teachers that a run trains."""
        return tuple(t for t in self.teachers if t.is_trained_here)

    def teacher(self, name: str) -> AnyTeacher:
        """Return a teacher by its name."""
        return next(teacher for teacher in self.teachers if teacher.name == name)

    @property
    def start_names(self) -> tuple[str, ...]:
        """Where transfers start from; "all" stands for every one."""
        return tuple(self._starts) if "all" in self.starts else self.starts

    def start(self, name: str) -> TransferStart:
        """Return a start by its name."""
        return self._starts[name]

    @property
    def wanted_supervised(self) -> TrainingConfig | None:
        """`supervised`, if transfers start from it."""
        return self.supervised if "supervised" in self.start_names else None

    @property
    def wanted_selfsup(self) -> tuple[SelfSupervised, ...]:
        """The self-supervised methods that transfers start from."""
        return tuple(method for method in self.selfsup if method.name in self.start_names)

    @property
    def trainings(self) -> tuple[TrainingConfig, ...]:
        """All that is trained."""
        baselines = (self.wanted_supervised,) if self.wanted_supervised else ()
        items = (*self.trained_teachers, self.student, *self.wanted_selfsup, *self.transfers)
        return (*(item.training for item in items), *baselines)

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The rules of the transfers; every set is transferred to by each of them."""
        common = {"mode": self.mode, "neck": self.neck, "episodes": self.episodes}
        sizes = [{"samples": count} for count in self.samples]
        sizes += [{"shots": count} for count in self.shots]
        return tuple(Protocol(**size, **common) for size in sizes)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The student's tasks."""
        return tuple(teacher.task for teacher in self.teachers)

    @property
    def labeled_sources(self) -> tuple[Source, ...]:
        """The teachers' training sets, and the pools that bring ground-truth labels."""
        found = [teacher.sets.train for teacher in self.trained_teachers]
        found += [pool.source for pool in self.pools if pool.source.label_spaces]
        return tuple({source.name: source for source in found}.values())

    @property
    def labeled_teachers(self) -> tuple[AnyTeacher, ...]:
        """Those for whose heads a source has ground-truth labels: "supervised" has these heads."""
        heads = {head for source in self.labeled_sources for head in source.label_spaces}
        return tuple(teacher for teacher in self.teachers if teacher.task.name in heads)

    @property
    def sources(self) -> list[Source]:
        """Every source of labeled sets and pools, each once, in the order of the recipe."""
        splits = [item.sets for item in (*self.teachers, *self.transfers) if item.sets is not None]
        found = [source for sets in splits for source in (sets.train, sets.validation, sets.test)]
        found += [pool.source for pool in self.pools]
        return list({source.name: source for source in found}.values())

    @property
    def student_sources(self) -> list[Source]:
        """The student's sources, each once: the teachers' training sets and the pools.

        Raises:
            UserError: two different sources share a name.
        """
        sources = [t.sets.train for t in self.trained_teachers] if self.student.union else []
        return distinct([*sources, *(pool.source for pool in self.pools)])

    def sources_labeled_by(self, teacher: AnyTeacher) -> list[Source]:
        """Return the student's sources that a teacher labels."""
        found, asked = self._can_label(teacher), teacher.labels_of
        return [source for source in found if asked is None or pool_name(source) in asked]

    def _can_label(self, teacher: AnyTeacher) -> list[Source]:
        pools = {pool.source.name for pool in self.pools}
        return [
            source
            for source in self.student_sources
            if teacher.labels_source(source, is_pool=source.name in pools)
        ]

    def _check_labels_of(self, teacher: AnyTeacher) -> None:
        """Raise UserError where a teacher is asked for labels of what it cannot label."""
        where, asked = f"teacher {teacher.name!r}", teacher.labels_of
        if asked is None:
            return
        expect_each(where, teacher, labels_of=str)
        check_named(asked, self._can_label(teacher), f"{where}: labels_of=", key="labels_of")
        has_ground_truth = self.student.union and teacher.is_trained_here
        if not asked and not has_ground_truth:
            problem = "at least one source is needed: the student has no other label of its head"
            raise UserError.of(where, "labels_of", asked, problem)

    def _check_sources_of(self, heads: Iterable[SelfLabeled]) -> None:
        """Raise UserError where self-labeled heads name sources that the student has not."""
        for head in heads:
            what = f"self-labeled head {head.name!r}: sources names the source "
            check_named(head.sources, self.student_sources, what, key="sources")

    def on_blocks(self, heads: Iterable[SelfLabeled]) -> tuple[SelfLabeled, ...]:
        """Return heads whose `sources` name every block of the pools that they name."""

        def on_blocks(head: SelfLabeled) -> SelfLabeled:
            blocks = (s.name for s in self.student_sources if pool_name(s) in head.sources)
            return dataclasses.replace(head, sources=tuple(blocks))

        return tuple(on_blocks(head) for head in heads)

    def loss_weights(self) -> dict[str, Weight]:
        """Return {head: loss weight} of the student before its first step.

        Raises:
            UserError: the weight of a head cannot be known.
        """
        heads = (*self.teachers, *self.student.self_labeled)
        return self.student.weighting.weights(self.student.training, heads)

    def alignment(self, transfer: Transfer, start: str) -> Aligned:
        """Return how far a start has seen a set: as the transfer declares, else by its task."""
        if start in transfer.aligned:
            return transfer.aligned[start]
        return self.start(start).aligned(transfer.task)
