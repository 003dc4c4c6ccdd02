"""Several runs as one result: `python -m must_keras.compare RUN RUN... --to=FILE.json`.

Runs of one recipe with different seeds, each with everything that belongs to it:

    python -m must_keras.main --experiment=scenes:seed=0 --workdir=runs/scenes-0
    python -m must_keras.main --experiment=scenes:seed=1 --workdir=runs/scenes-1

Or runs that differ in one value of the recipe, as a curve: `--over=pool_images`; see
docs/ablations.md.
"""

import pathlib

from absl import flags

from must_keras import command
from must_keras.errors import UserError

_TO = flags.DEFINE_string("to", None, "A new JSON file for the numbers.")
_OVER = flags.DEFINE_string(
    "over", None, "What the runs differ in: pool_images, teachers, or the path of another value in "
    "run.json's recipe. Curves are saved beside --to, as .png.",
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Print a table and a verdict for every protocol, and write their numbers."""
    with command.quiet_import():
        from must_keras.analysis import ablation, combined
        from must_keras.json_files import write_json

    over, to = _OVER.value, None if _TO.value is None else pathlib.Path(_TO.value)
    plot = to.with_suffix(".png") if over and to is not None else None
    if to is not None and plot == to:
        problem = "give a JSON file; curves are saved beside it, as .png"
        raise UserError.of("", "to", to, problem, path=to)
    for path in filter(None, (to, plot)):
        if path.exists():
            raise UserError.of("", "to", to, f"{path} exists; give a new file", path=path)
    if len(argv) < 2:
        raise UserError("give the folders of the runs")
    folders = [pathlib.Path(folder) for folder in argv[1:]]
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


def run() -> None:
    """Run the installed command."""
    command.run(main)


if __name__ == "__main__":
    run()
