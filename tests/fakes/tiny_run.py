"""A tiny run on two sets of two classes each and a pile of pictures: trees teach, houses are new."""

from PIL import Image

from fakes.few_layers import NETWORK
from fakes.photos import picture
from fakes.random_examples import training
from must_keras import stages
from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import FolderPerClass, ImagesOnly
from must_keras.data.splits import Splits
from must_keras.runs.executor import Executor
from must_keras.stages.status import status as print_status
from must_keras.tasks import Classification

RUN = training(3, batch=4, learning_rate=0.01, log_every=1)


def classes(data, name):
    splits = {
        part: FolderPerClass(name=f"{name}_{part}", root=data / name / part, head=name)
        for part in ("train", "test")
    }
    task = Classification(name=name, classes=splits["train"].label_spaces[name].classes)
    sets = Splits(train=splits["train"], validation=splits["test"], test=splits["test"])
    return task, sets


def draw(data):
    """Two sets of two classes, and a pile of which one picture is in a test split."""
    seed = 0
    for name, kinds in (("trees", ("elm", "oak")), ("houses", ("high", "low"))):
        for part in ("train", "test"):
            for kind in kinds:
                folder = data / name / part / kind
                folder.mkdir(parents=True)
                for i in range(3):
                    seed += 1
                    Image.fromarray(picture(seed)).save(folder / f"{i}.png")
    (data / "pile").mkdir()
    copy = data / "houses" / "test" / "low" / "0.png"
    (data / "pile" / "copy.png").write_bytes(copy.read_bytes())
    for i in range(5):
        Image.fromarray(picture(100 + i)).save(data / "pile" / f"{i}.png")


def recipe_with(data, **changes) -> Recipe:
    trees, tree_sets = classes(data, "trees")
    houses, house_sets = classes(data, "houses")
    pile = ImagesOnly(name="pile", root=data / "pile")
    values = {
        "name": "woods",
        "seed": 0,
        "network": NETWORK,
        "teachers": (Teacher(name="trees", task=trees, sets=tree_sets, training=RUN),),
        # With a truth it is the same for the stages and for what is called here: no list is kept.
        "pools": (Pool(source=pile, truth=pile),),
        "student": Student(training=RUN),
        "transfers": (Transfer(name="houses", task=houses, sets=house_sets, training=RUN),),
        "starts": ("random", "student"),
        "evaluation_batch": 4,
    }
    return Recipe(**(values | changes))


def make(stage, recipe, path, only=()):
    """What `--stage` does."""
    executor = Executor(stages.load(), load=lambda: recipe, workdir=path, only=only, strategy="one")
    executor.make(stage)


def status(recipe, path):
    """What `--stage=status` does."""
    executor = Executor(stages.load(), load=lambda: recipe, workdir=path)
    executor.read(print_status, new=True, others=True)
