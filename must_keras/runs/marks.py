"""Which files of a run's folder the run has written: nothing else is emptied or overwritten."""

import hashlib
import pathlib
import re
import zipfile
from collections.abc import Iterator

from must_keras.errors import DataError, UserError, argument
from must_keras.files import LOCK, TEMPORARY
from must_keras.json_files import find_json

FINISHED = "finished.json"
BEGUN = "begun.json"
# What an interrupted labeling has begun (data/columns); it continues by rules of its own.
STARTED = "started.json"
RUN = "run.json"
# In a teacher's folder: its scored predictions on validation images.
PREDICTION_COUNTS = "answers.npz"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
# Details of a head's evaluation (runs/details.py), in the folder of what was scored.
DETAILS = "details"
# Files of further loggers (TrainingConfig.loggers).
LOGGERS = "loggers"
# Files of a stage under names of its own, in an artifact's folder.
FILES = "files"
# Begins the names of folders of steps that were not finite.
EVIDENCE = "nonfinite-step-"
# A model card: see `signed`.
CARD = "README.md"
# A folder with one of these files is an artifact of ours, which may be emptied.
MARKS = (FINISHED, BEGUN, STARTED)

# What operating systems put into folders.
_OF_SYSTEMS = re.compile(
    r"Thumbs\.db|desktop\.ini|lost\+found|\.DS_Store|\.directory|\._.*|\.nfs.*|\.fuse_hidden.*"
)
# What an interrupted write leaves behind a file's name (files.replacing).
_UNFINISHED = rf"(?:(?:\.[0-9a-f]{{8}})?{re.escape(TEMPORARY)})?"
# Keras writes and reads weights beside a model's file where memory is scarce.
_OF_KERAS = r"tmp[a-z0-9_]{8}"
_CHECKPOINT = r"step-([0-9]+)\.npz"
_COLUMN = r"labels-.*\.tfrecord-.*|index-.*\.npy|ledger\.json|features\.json|dataset_info\.json"
_ARTIFACT = (
    rf"finished\.json|begun\.json|started\.json|progress\.json|validated\.json|metrics\.jsonl|"
    rf"model\.keras|answers\.npz|statistics\.npz|distances\.npy|duplicates\.jsonl|quarantine\.jsonl|{_COLUMN}|"
    rf"backbone\.keras|neck\.keras|labels\.json|export\.json|model\.onnx|model\.tflite|{_OF_KERAS}"
)
# {folder of an artifact: files in it and below it}.
_BELOW = {
    "pictures": r".*\.png",
    DETAILS: r".*\.json",
    CHECKPOINTS: _CHECKPOINT,
    LOGGERS: r".*",
    FILES: r".*",
    "tensorboard": r"events\.out\.tfevents\..*",
    "saved_model": r".*",
    "pools": r".*\.jsonl",
}
_SIGNATURE = (
    "<!-- Written by must_keras, which writes it again unless the text above is changed: {} -->"
)
_WEIGHTS = re.compile(r"model\.weights\.h5")


def check_root(root: pathlib.Path) -> None:
    """Raise UserError where a run would write into a folder that no run has made.

    A run's folder is empty, or contains the run.json of a run. A first start that was interrupted
    leaves a lock alone.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"workdir={root} is a file; a folder is needed", key="workdir", value=root)
    if not root.is_dir():
        return
    own = (LOCK, RUN + TEMPORARY)
    foreign = sorted(
        path.name
        for path in root.iterdir()
        if path.name not in own and not path.name.startswith(".") and not _is_system(path.name)
    )
    if foreign and not _is_run(root):
        raise UserError(
            f"{argument('workdir', root)} is no folder of a run, and not empty: it contains "
            f"{foreign[0]!r}. Nothing was written; choose a new folder"
        )


def _is_run(root: pathlib.Path) -> bool:
    """Return whether a folder contains the run.json of a run; a damaged one of ours counts too."""
    try:
        value = find_json(root / RUN, dict, remedy=f"delete {root / RUN}")
    except DataError:
        # Only ours is likely beside folders that carry our marks.
        return any(path for mark in MARKS for path in root.glob(f"teachers/*/{mark}"))
    return value is not None and {"recipe", "seed", "versions"} <= value.keys()


def check_own(folder: pathlib.Path) -> None:
    """Raise UserError where an artifact's folder contains files that no run has written.

    Such a file would be deleted with the folder's content.
    """
    foreign = next(_foreign(folder), None)
    if foreign is not None:
        raise UserError(
            f"{folder} contains {str(foreign.relative_to(folder))!r}, which no run has written: "
            "move it, or choose another `workdir`"
        )


def is_own_file(name: str) -> bool:
    """Return whether an artifact has a file of this name, whole or as an interrupted write."""
    return re.fullmatch(f"(?:{_ARTIFACT}){_UNFINISHED}", name) is not None


def is_kept(name: str) -> bool:
    """Return whether what has this name stays when an artifact's folder is emptied."""
    # The marks go last: an interrupted emptying can be done again. Evidence is for people.
    return name in MARKS or name.startswith(EVIDENCE) or _is_system(name)


def remove_checkpoints(folder: pathlib.Path) -> None:
    """Delete the checkpoints in an artifact's folder; other files beside them stay."""
    checkpoints = folder / CHECKPOINTS
    if not checkpoints.is_dir():
        return
    for path in list(checkpoints.iterdir()):
        if re.fullmatch(_CHECKPOINT + _UNFINISHED, path.name):
            path.unlink(missing_ok=True)
    if not any(checkpoints.iterdir()):
        checkpoints.rmdir()


def signed(text: str) -> str:
    """Return a text with a last line, a comment of Markdown, by which `is_signed` recognizes it."""
    return f"{text}{_SIGNATURE.format(hashlib.sha256(text.encode()).hexdigest())}\n"


def is_signed(path: pathlib.Path) -> bool:
    """Return whether a file is as a run has written it: `signed`, and not changed by a person."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    body = text[: text.rstrip("\n").rfind("\n") + 1]
    return text == signed(body)


def newest_checkpoint(folder: pathlib.Path) -> int | None:
    """Return the step of the newest checkpoint in an artifact's folder that is a whole file.

    The arrays in it are not read. None without any.
    """
    names = (re.fullmatch(_CHECKPOINT, path.name) for path in (folder / CHECKPOINTS).glob("*.npz"))
    steps = {int(name[1]): folder / CHECKPOINTS / name[0] for name in names if name}
    return next((k for k in sorted(steps, reverse=True) if zipfile.is_zipfile(steps[k])), None)


def _foreign(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files of a folder and of those below it that no run has written, in order.

    Where a folder has no mark, all of its files are foreign; artifacts may lie below it, as rounds
    do in rounds/.
    """
    if not folder.is_dir():
        return
    is_artifact = any((folder / mark).is_file() for mark in MARKS)
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            if path.name in _BELOW and (is_artifact or path.name == "pools"):
                yield from _unlike(path, re.compile(_BELOW[path.name] + _UNFINISHED))
            elif is_artifact and re.fullmatch(_OF_KERAS, path.name):
                yield from _unlike(path, _WEIGHTS)
            elif not path.name.startswith(EVIDENCE):
                yield from _foreign(path)
        elif not (is_artifact and (is_own_file(path.name) or _is_card(path))):
            yield path


def _is_card(path: pathlib.Path) -> bool:
    """Return whether a file is a model card that no person has changed."""
    return path.name == CARD and is_signed(path)


def _unlike(folder: pathlib.Path, pattern: re.Pattern[str]) -> Iterator[pathlib.Path]:
    """Files below a folder whose names do not match."""
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _unlike(path, pattern)
        elif not pattern.fullmatch(path.name):
            yield path


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """What is in a folder, by name, without what operating systems put there."""
    return sorted(path for path in folder.iterdir() if not _is_system(path.name))


def _is_system(name: str) -> bool:
    return _OF_SYSTEMS.fullmatch(name) is not None
