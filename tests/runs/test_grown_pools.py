"""A pool that changes after a run is finished: what status and each stage make of it."""

import dataclasses
import json
import pathlib
import re
import shlex
import shutil

import pytest

from fakes.label_recipe import light
from fakes.photos import picture
from fakes.public_datasets import save
from fakes.results import finish
from must_keras import stages
from must_keras.command import as_flags
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Transfer
from must_keras.data.sources import FolderPerClass, ImagesOnly
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import training_set
from must_keras.runs import pools
from must_keras.runs.executor import Executor
from must_keras.runs.run import Run
from must_keras.stages.status import status
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

TRAINING = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
FINISHED = ["all stages are complete"]
HASH = re.compile(r"[0-9a-f]{16}")
# Stages that learn from the pools, and stages that only read what is made.
STOPPED, FREE = ("all", "label", "student"), ("transfer", "export", "report")


def recipe_of(data, *, names=("pile",), steps=2, starts=("random", "student")) -> Recipe:
    training = dataclasses.replace(TRAINING, steps=steps)
    model = ExternalModel(model=light, version="1", size=16, form="probabilities")
    task = Classification(name="kind", classes=("dark", "light"))
    trees = FolderPerClass(name="trees", root=data / "trees", head="trees")
    downstream = Transfer(
        name="trees",
        task=Classification(name="trees", classes=("elm", "oak")),
        sets=Splits(train=trees, validation=trees, test=trees),
        training=TRAINING,
    )
    return Recipe(
        name="grown",
        seed=0,
        network=Network(backbone=ResNet.small(), size=64, channels=16),
        teachers=(ExternalTeacher(name="light", task=task, model=model, loss_weight=1.0),),
        pools=tuple(Pool(source=ImagesOnly(name=name, root=data / name)) for name in names),
        student=Student(training=training),
        transfers=(downstream,),
        starts=starts,
        evaluation_batch=4,
    )


def executor_of(recipe, path, reuse=None) -> Executor:
    return Executor(stages.load(), load=lambda: recipe, workdir=path, strategy="one", reuse=reuse)


def make_nothing(run, pending):
    """Complete artifacts of a stage without any work."""
    for artifact in pending:
        artifact.resume()
        finish(artifact)


def learn_nothing(run, pending):
    """The same for the student, whose training set is read."""
    training_set.of_student(run)
    make_nothing(run, pending)


def report_nothing(run, stages):
    for name in ("report.json", "report.html"):
        (run.path / name).write_text("{}")


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_trained():
    with pytest.MonkeyPatch.context() as patch:
        of_name = {stage.name: stage for stage in stages.load()}
        patch.setattr(of_name["student"], "make", learn_nothing)
        patch.setattr(of_name["student"], "conclude", lambda run, stages: None)
        patch.setattr(of_name["transfer"], "make", make_nothing)
        patch.setattr(of_name["export"], "make", make_nothing)
        patch.setattr(of_name["report"], "conclude", report_nothing)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """data/ and run/, a finished run over the pool "pile"."""
    folder = tmp_path_factory.mktemp("whole")
    for i in range(4):
        save(folder / "data" / "pile" / f"{i}.png", picture(i))
        save(folder / "data" / "heap" / f"{i}.png", picture(10 + i))
    for i, kind in enumerate(("oak", "elm")):
        save(folder / "data" / "trees" / kind / "x.png", picture(20 + i))
    executor_of(recipe_of(folder / "data"), folder / "run").make()
    return folder


@pytest.fixture
def data(whole, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(whole / "data", tmp_path / "data"))


class CommandLine:
    """A user at the command line."""

    def __init__(self, data, capsys, **values):
        self.folder, self.data = data.parent / "run", data
        self._capsys, self.values = capsys, values

    def __call__(self, stage, *, folder=None, reuse=None, **changes) -> str:
        """What a stage prints, but for its progress."""
        recipe = recipe_of(self.data, **(self.values | changes))
        executor = executor_of(recipe, folder or self.folder, reuse)
        if stage == "status":
            executor.read(status, new=True, others=True)
        else:
            executor.make(stage)
        printed = self._capsys.readouterr()
        lines = (printed.out + printed.err).splitlines()
        return "\n".join(line for line in lines if not line.rstrip().endswith("left"))

    def student(self, inputs):
        """The student's artifact, made from these inputs."""
        run = Run(recipe=recipe_of(self.data), path=self.folder)
        return run.student.declare(find_inputs=lambda: inputs)

    def refused(self, stage, **more) -> str:
        before = files(self.folder)
        with pytest.raises(UserError) as error:
            self(stage, **more)
        assert files(self.folder) == before, "a stage that stops writes nothing"
        assert not HASH.search(str(error.value)) and "\n" not in str(error.value)
        return str(error.value)

    def status(self, **more) -> tuple[dict[tuple[str, str], str], list[str]]:
        """({(stage, name): state}, the lines below)."""
        before = files(self.folder)
        lines = self("status", **more).splitlines()
        assert files(self.folder) == before
        ends = re.compile('next:|all stages|stage="all" stops:')
        end = next(i for i, line in enumerate(lines) if ends.match(line))
        return {(x[:9].strip(), x[10:50].strip()): x[51:] for x in lines[:end]}, lines[end:]


def files(folder) -> dict[str, int]:
    """{file of a run: when it was written}."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "seconds.json")
    }


@pytest.fixture
def run(whole, data, capsys) -> CommandLine:
    """A finished run, over one pool."""
    made = CommandLine(data, capsys)
    shutil.copytree(whole / "run", made.folder)
    return made


def grow(data, pool="pile", names=("a.png", "z.png")):
    for i, name in enumerate(names):
        save(data / pool / name, picture(50 + i))


def test_a_finished_run_stops_before_it_labels_what_is_new(run, data):
    grow(data)
    for stage in STOPPED:
        message = run.refused(stage)
        assert "pool pile grew by 2 images (a.png, z.png)" in message
        assert f'workdir="{run.folder}-2", reuse="{run.folder}"' in message
    for stage in FREE:
        assert "note: pool pile grew by 2 images" in run(stage)
    assert [path.name for path in (run.folder / "labels" / "light").iterdir()] == ["pile"]
    assert not (run.folder.with_name("run-2")).exists()


def test_status_states_what_all_would_do(run, data):
    assert run.status()[1] == FINISHED
    grow(data)
    states, (end,) = run.status()
    again = {key for key, state in states.items() if state.startswith("must be made again")}
    assert again == {("student", ""), ("transfer", "trees from student, seed 0"), ("export", "")}
    assert "before pool pile grew by 2 images (a.png, z.png)" in states["student", ""]
    assert str(run.folder / "student") in states["export", ""]
    assert states["transfer", "trees from random, seed 0"] == "complete"
    assert states["label", "light for pile"] == "complete"
    assert states["report", ""] != "complete"
    assert "grew by 2 images" in states["pool", "pile"]
    assert end == f'stage="all" stops: {run.refused("all")}'


def test_when_the_new_images_are_removed_everything_is_finished_again(run, data):
    before = files(run.folder)
    grow(data)
    run.refused("label")
    for name in ("a.png", "z.png"):
        (data / "pile" / name).unlink()
    assert run.status()[1] == FINISHED
    for stage in (*STOPPED, *FREE):
        assert "note:" not in run(stage)
    kept = {path for path in before if path.endswith("finished.json")}
    assert len(kept) > 5 and all(files(run.folder)[path] == before[path] for path in kept)


def test_the_way_out_that_the_message_names_labels_only_what_is_new(run, data):
    grow(data)
    words = shlex.split(as_flags(run.refused("label")).replace(",", " "))
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--work"))
    folder = pathlib.Path(flags["workdir"])
    states, _ = run.status(folder=folder, reuse=run.folder)
    column = run.folder / "labels" / "light" / "pile"
    assert states["label", "light for pile"] == f"reused from {column}"
    assert states["label", "light for pile_block2"] == "not begun, will be made"
    assert states["student", ""] == "not begun, will be made"
    assert states["transfer", "trees from random, seed 0"].startswith("reused from")
    assert not folder.exists()
    printed = run("all", folder=folder, reuse=run.folder)
    assert "pile: 2 new images, pile_block2" in printed
    assert "labels of light for pile_block2: 2 of 2 images" in printed
    ledger = folder / "labels" / "light" / "pile" / "ledger.json"
    assert ledger.samefile(column / "ledger.json")
    sources = json.loads((folder / "student" / "finished.json").read_text())["inputs"]["sources"]
    assert [source["name"] for source in sources] == ["pile", "pile_block2"]
    assert run.status(folder=folder)[1] == FINISHED
    # Both go on growing, each in its own way.
    grow(data, names=("later.png",))
    assert "grew by 3 images" in run.refused("all")
    with pytest.raises(UserError, match=r"grew by 1 image \(later.png\).*workdir=\S*run-2-2\W"):
        run("all", folder=folder)


def test_images_that_are_gone_stop_nothing(run, data):
    (data / "pile" / "0.png").unlink()
    shutil.rmtree(data / "pile" / "1.png", ignore_errors=True)
    states, end = run.status()
    assert end == FINISHED and "lost 1 image (0.png)" in states["pool", "pile"]
    for stage in (*STOPPED, *FREE):
        assert "note: pool pile lost 1 image (0.png)" in run(stage)
    assert run.status()[1] == FINISHED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pool: (pool / "1.png").rename(pool / "one.png"), r"grew by .*one.*lost .*\(1.png"),
        (lambda pool: save(pool / "1.png", picture(77)[:20]), r"other bytes for 1 image \(1.png"),
        (lambda pool: save(pool / "deep" / "5.png", picture(78)), r"grew by 1 image \(deep/5.png"),
    ],
    ids=["renamed", "replaced", "in a folder"],
)
def test_every_kind_of_change_has_a_way_back(run, data, change, words):
    shutil.copytree(data / "pile", data / "kept")
    change(data / "pile")
    states, (end,) = run.status()
    assert re.search(words, states["pool", "pile"]) and re.search(words, end)
    assert states["student", ""].startswith("must be made again")
    assert "put replaced or renamed ones back" in run.refused("all")
    shutil.rmtree(data / "pile")
    (data / "kept").rename(data / "pile")
    assert run.status()[1] == FINISHED and run("all")


def test_two_pools_are_named_together(data, capsys):
    run = CommandLine(data, capsys, names=("pile", "heap"))
    run("all")
    grow(data, "heap", ("new.png",))
    assert "pile" not in run.refused("all").split(" after ")[0]
    grow(data)
    message = run.refused("label")
    assert "pool pile grew by 2" in message and "pool heap grew by 1 image (new.png)" in message
    states, _ = run.status()
    assert {name for stage, name in states if stage == "pool"} == {"pile", "heap"}


def test_a_student_that_has_begun_is_finished_on_its_list(run, data):
    made_from = json.loads((run.folder / "student" / "finished.json").read_text())["inputs"]
    shutil.rmtree(run.folder / "transfers")
    shutil.rmtree(run.folder / "export")
    student = run.student(made_from)
    student.begin()
    grow(data)
    states, end = run.status()
    assert states["student", ""] == "begun, will be resumed" and end == ['next: stage="student"']
    assert "student trained without these changes" in states["pool", "pile"]
    assert "note: pool pile grew by 2 images" in run("all")
    assert json.loads((student.folder / "finished.json").read_text())["inputs"] == made_from
    assert not (run.folder / "labels" / "light" / "pile_block2").exists()
    run.refused("all")


def test_before_the_student_new_images_are_labeled_where_they_are(run, data, monkeypatch):
    for name in ("student", "transfers", "export"):
        shutil.rmtree(run.folder / name)
    grow(data)
    with monkeypatch.context() as patched:
        patched.setattr("must_keras.data.sources.listed_files.file_sha256", None)  # It reads none.
        states, end = run.status()
    assert states["label", "light for pile_block2"] == "not begun, will be made"
    assert end == ['next: stage="label"']
    assert "labels of light for pile_block2: 2 of 2" in run("label")
    for name in ("a.png", "z.png"):
        (data / "pile" / name).unlink()
    assert "no label any more" in run.status()[0]["pool", "pile"]
    run("all")
    assert run.status()[1] == FINISHED


def test_a_run_that_labeled_new_images_after_its_student_goes_on(run, data):
    """As versions before did."""
    student_inputs = (run.folder / "student" / "finished.json").read_text()
    (run.folder / "student").rename(run.folder / "aside")
    grow(data)
    run("label")
    shutil.rmtree(run.folder / "student", ignore_errors=True)
    (run.folder / "aside").rename(run.folder / "student")
    assert (run.folder / "labels" / "light" / "pile_block2" / "finished.json").exists()
    assert "pool pile grew by 2 images" in run.refused("all")
    run("report")
    for name in ("a.png", "z.png"):
        (data / "pile" / name).unlink()
    run("all")
    assert run.status()[1] == FINISHED
    assert (run.folder / "student" / "finished.json").read_text() == student_inputs


def test_the_original_of_a_replaced_image_is_no_new_one(data):
    run = Run(recipe=recipe_of(data), path=data.parent / "run")

    def blocks():
        frozen = pools.frozen(run, new=True)
        pools.keep(frozen)
        sources = [pool.source for pool in frozen.recipe.pools]
        return [[source.image_id(i) for i in range(len(source))] for source in sources]

    (first,) = blocks()
    kept = (data / "pile" / "1.png").read_bytes()
    save(data / "pile" / "1.png", picture(77)[:20])
    assert blocks() == [first, ["1.png"]]
    (data / "pile" / "1.png").write_bytes(kept)
    assert blocks() == [first, ["1.png"]], "no third block"


def test_status_reads_no_file_of_a_pool_without_a_list(data, capsys, monkeypatch):
    monkeypatch.setattr("must_keras.data.sources.listed_files.file_sha256", None)
    states, end = CommandLine(data, capsys).status()
    assert states["label", "light for pile"] == "not begun, will be made"
    assert end == ['next: stage="teacher"']


def test_unfinished_work_of_another_recipe_stops_with_its_way_out(run):
    inputs = json.loads((run.folder / "student" / "finished.json").read_text())["inputs"]
    run.student(inputs).begin()
    states, (end,) = run.status(steps=3)
    assert "unfinished work that was begun with student.training.steps = 2" in states["student", ""]
    message = run.refused("all", steps=3)
    assert end.endswith(message)
    assert "Undo the change" in message and f'reuse="{run.folder}" ' in message
    assert f" {run.folder / 'student'}" in message.split("delete what must be made again:")[1]


def test_a_path_with_a_space_is_quoted_in_the_command(run, data):
    run.folder = run.folder.rename(data.parent / "my run")
    grow(data)
    words = shlex.split(as_flags(run.refused("all")).replace(",", " "))
    assert f"--workdir={run.folder}-2" in words and f"--reuse={run.folder}" in words


def test_labels_that_are_begun_are_resumed_if_they_are_of_the_same_teacher(run):
    for name in ("student", "transfers", "export"):
        shutil.rmtree(run.folder / name)
    column = run.folder / "labels" / "light" / "pile"
    (column / "finished.json").unlink()
    states, end = run.status()
    assert end == ['next: stage="label"']
    assert states["label", "light for pile"] == "begun, 4 of 4, will be resumed"
    started = json.loads((column / "started.json").read_text())
    started["recipe"]["size"] = 32
    (column / "started.json").write_text(json.dumps(started))
    states, (end,) = run.status()
    assert "unfinished work that was begun with size = 32" in states["label", "light for pile"]
    assert str(column) in run.refused("label") and end.endswith(run.refused("all"))


def test_lost_labels_of_a_finished_run_are_made_again_alone(run):
    before = files(run.folder)
    shutil.rmtree(run.folder / "labels" / "light" / "pile")
    states, (following, stops) = run.status()
    assert "was made without" in states["student", ""] and following == 'next: stage="label"'
    assert 'Make that alone again by stage="label"' in stops
    run("label")
    assert run.status()[0]["student", ""] == "complete"
    run("all")
    assert run.status()[1] == FINISHED
    assert files(run.folder)["student/finished.json"] == before["student/finished.json"]


def test_the_stage_that_makes_a_lost_artifact_again_is_named_where_it_runs(run):
    shutil.rmtree(run.folder / "student")
    assert 'Make that alone again by stage="student"' in run.refused("all")
    run("student")
    run("all")
    assert run.status()[1] == FINISHED
