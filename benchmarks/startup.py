"""How long the program takes until it answers, beside Python itself.

    python -m benchmarks.startup

`--help` and a flag that does not exist, each as a whole process; one JSON line of medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks.measuring import in_turns

TURNS = 7


def main() -> None:
    """Measures and prints."""
    program = [sys.executable, "-m", "must_keras.main"]
    commands = {
        "python_s": [sys.executable, "-c", "pass"],
        "help_s": [*program, "--help"],
        "wrong_flag_s": [*program, "--nothing"],
    }
    works = {
        name: lambda c=command: subprocess.run(c, capture_output=True, check=False)
        for name, command in commands.items()
    }
    times = in_turns(works, TURNS)
    print(json.dumps({name: round(statistics.median(times[name]), 3) for name in commands}))


if __name__ == "__main__":
    main()
