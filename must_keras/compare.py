"""Several runs as one result: `must-keras compare RUN RUN... --to=FILE.json`.

Runs of one recipe with different seeds, each with everything that belongs to it:

    must-keras run scenes:seed=0 --workdir=runs/scenes-0
    must-keras run scenes:seed=1 --workdir=runs/scenes-1

Or runs that differ in one value of the recipe, as a curve: `--over=pool_images`; see
docs/how_to/ablations.md.
"""

import argparse
import pathlib
import sys

from must_keras import command
from must_keras.errors import UserError


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="+", type=pathlib.Path, help="folders of runs")
    add("--to", type=pathlib.Path, help="a new JSON file for the numbers")
    add(
        "--over",
        help="what the runs differ in: pool_images, teachers, or the path of another value in "
        "run.json's recipe; curves are saved beside --to, as .png",
    )


def main(given: argparse.Namespace) -> None:
    """Print a table and a verdict for every protocol, and write their numbers."""
    with command.quiet_import():
        from must_keras.analysis import ablation, combined
        from must_keras.json_files import write_json

    over, to, folders = given.over, given.to, given.runs
    plot = to.with_suffix(".png") if over and to is not None else None
    if to is not None and plot == to:
        problem = "give a JSON file; curves are saved beside it, as .png"
        raise UserError.of("", "to", to, problem, path=to)
    for path in filter(None, (to, plot)):
        if path.exists():
            raise UserError.of("", "to", to, f"{path} exists; give a new file", path=path)
    if not over:
        found = combined.show(folders)
    else:
        curves = ablation.curves(ablation.read(folders, over))
        for name, curve in curves.items():
            print(f"{name}\n\n{ablation.table(curve, over)}\n")
        if plot is not None:
            plot.write_bytes(ablation.picture(curves, over))
            print(f"curves: {plot}")
        found = {"over": over, "protocols": curves}
    if to is not None:
        write_json(to, found)


COMMAND = command.Command(
    name="compare",
    summary="Compare runs that differ in the seed, or in one value of the recipe.",
    add_arguments=_arguments,
    main=main,
)

if __name__ == "__main__":
    sys.exit(command.run_alone(COMMAND))
