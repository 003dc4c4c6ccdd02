"""What two finished runs of one recipe have not in common, bit for bit: a line for each difference.

    python -m benchmarks.run_differences runs/before runs/after

Compares the weights of every .keras file, array by array; the bytes of pseudo-label shards and
their indices; ledgers without the recipe, versions and checksums of the teacher's file; the values
of metrics.jsonl and of report.json. Seconds and images per second differ from run to run and are
left out. Exits with 1 where anything differs.
"""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

from must_keras.training.loggers import read_metrics

# Values that measure the machine, and values that describe the code.
# A .keras file contains the date, and so its checksum changes.
_OF_MACHINE = ("seconds", "images_per_second", "seconds_per_image", "git_commit", "model_sha256")
_OF_LEDGER = ("recipe", "versions", "teacher_sha256")
_LONGEST = 60


def weights_of(path: pathlib.Path) -> dict[str, tuple[Any, ...]]:
    """Shape, dtype and bytes of every array: HDF5 leaves bytes between them that nobody writes."""
    found = {}

    def keep(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[key] = item.shape, str(item.dtype), item[()].tobytes()

    with zipfile.ZipFile(path) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:
        file.visititems(keep)
    return found


def log_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl without what measures the machine."""
    return [
        {"step": row.step, "split": row.split}
        | {k: v for k, v in row.values.items() if k not in _OF_MACHINE}
        for row in read_metrics(path.parent)
    ]


def contents(run: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """(name, value) of everything in a run's folder that the recipe and its seed determine."""
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".keras":
            for key, value in weights_of(path).items():
                yield f"{name}: {key}", value
        elif name.startswith("labels/") and path.name.startswith("labels-"):
            yield name, hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "ledger.json":
            yield from _leaves(name, json.loads(path.read_text()), _OF_LEDGER)
        elif path.name == "metrics.jsonl":
            for number, row in enumerate(log_rows(path)):
                yield from _leaves(f"{name}: line {number + 1}", row)
        elif name == "report.json":
            yield from _leaves(name, json.loads(path.read_text()))


def _leaves(name: str, value: Any, ignored: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in (*_OF_MACHINE, *ignored):
                yield from _leaves(f"{name}.{key}", inner, ignored)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(f"{name}[{number}]", inner, ignored)
    else:
        yield name, value


def differences(run: pathlib.Path, other: pathlib.Path) -> Iterator[str]:
    """One line for each value that is not the same, or is in one run only."""
    here, there = dict(contents(run)), dict(contents(other))
    for name in dict.fromkeys([*here, *there]):
        if name not in there or name not in here:
            yield f"{name}: only in {run if name in here else other}"
        elif here[name] != there[name]:
            yield f"{name}: {_short(here[name])} and {_short(there[name])}"


def _short(value: Any) -> str:
    return repr(value)[:_LONGEST]


def main() -> int:
    """Prints the differences of the two folders that the command line names, and their number."""
    run, other = map(pathlib.Path, sys.argv[1:])
    found = list(differences(run, other))
    print(*found, sep="\n")
    print(json.dumps({"values": len(dict(contents(run))), "differences": len(found)}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
