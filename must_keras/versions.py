"""Versions of the code and libraries that a run is made with."""

import contextlib
import importlib.metadata
import pathlib
import platform
import subprocess

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "keras-cv", "tensorflow-datasets", "numpy")


def versions() -> dict[str, str]:
    """Return {package: version} of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout that runs; None outside of one."""
    folder = pathlib.Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
