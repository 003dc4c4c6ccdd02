"""Several runs as one result: `python -m must_keras.compare RUN RUN... --to=FILE.json`.

Runs of one recipe with different seeds, each with everything that belongs to it:

    python -m must_keras.main --experiment=scenes:seed=0 --workdir=runs/scenes-0
    python -m must_keras.main --experiment=scenes:seed=1 --workdir=runs/scenes-1

Or runs that differ in one value of the recipe, as a curve: `--over=pool_images`; see
docs/ablations.md.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from must_keras import command
from must_keras.errors import UserError

_TO = flags.DEFINE_string("to", None, "A new JSON file for the numbers.")
_OVER = flags.DEFINE_string(
    "over", None, "What the runs differ in: pool_images, teachers, or the path of another value in "
    "run.json's recipe. Curves are drawn beside --to, as .png.",
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Prints a table and a verdict for every protocol, and writes their numbers."""
    with command.without_greetings():
        from must_keras.analysis import combined
        from must_keras.files import write_json

    to = None if _TO.value is None else pathlib.Path(_TO.value)
    for path in () if to is None else (to, *([to.with_suffix(".png")] if _OVER.value else [])):
        if path.exists():
            raise UserError(f"--to={to}: {path} is there already; a new file is needed")
    if to is not None and _OVER.value and to.suffix == ".png":
        raise UserError(f"--to={to}: a JSON file is needed; curves are drawn beside it, as .png")
    if len(argv) < 2:
        raise UserError("give the folders of the runs")
    folders = [pathlib.Path(folder) for folder in argv[1:]]
    found = _curves(folders, _OVER.value, to) if _OVER.value else combined.show(folders)
    if to is not None:
        write_json(to, found)


def _curves(folders: list[pathlib.Path], over: str, to: pathlib.Path | None) -> dict[str, Any]:
    """What runs that differ in one value show, by protocol; drawn beside `to`."""
    from must_keras.analysis import ablation

    curves = ablation.curves(ablation.read(folders, over))
    for name, found in curves.items():
        print(f"{name}\n\n{ablation.table(found, over)}\n")
    if to is not None:
        path = to.with_suffix(".png")
        path.write_bytes(ablation.picture(curves, over))
        print(f"curves: {path}")
    return {"over": over, "protocols": curves}


def run() -> None:
    """The entry point."""
    command.run(main)


if __name__ == "__main__":
    run()
