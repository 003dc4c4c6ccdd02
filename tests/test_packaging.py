"""What pip installs: the ranges of versions, the pinned set, and the files of the distribution."""

import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The tried set takes the wheel without a GPU.
PINNED_AS = {"tensorflow": "tensorflow-cpu"}


def pins(name: str) -> dict[str, str]:
    """{package: version} of a file of requirements."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {package.lower().replace("_", "-"): version for package, version in found}


def test_the_tried_versions_are_in_the_ranges():
    tried, named = pins("requirements.txt"), set()
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        name = PINNED_AS.get(name, name)
        named.add(name)
        assert requirement.specifier.contains(tried[name]), text
    assert named == tried.keys()


@pytest.mark.parametrize(
    "extra", ["ray", "docs", "export", "hub", "onnx", "tracking", "checkpoints", "digits"]
)
def test_the_tried_versions_of_extras_are_in_the_ranges(extra):
    tried = pins(f"requirements-{extra}.txt")
    requirements = [Requirement(text) for text in PROJECT["optional-dependencies"][extra]]
    assert {requirement.name for requirement in requirements} == tried.keys()
    for requirement in requirements:
        assert requirement.specifier.contains(tried[requirement.name]), requirement


def test_the_lock_has_the_pinned_set_with_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    assert pins("requirements.txt").items() <= pins("requirements.lock").items()
    entries = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) > 50 and all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.slow
def test_the_wheel_and_the_source_distribution(tmp_path):
    """Recipes are a part of the package; nothing else lies at the top."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path / "of", "build"],
        check=True,
    )
    command = [sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(tmp_path / "of")})
    (wheel,), (source,) = (tmp_path.glob(f"dist/*.{suffix}") for suffix in ("whl", "tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "must_keras", next(name for name in names if name.endswith("/METADATA")).split("/")[0],
    }  # fmt: skip
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "must_keras").rglob("*.py")}
    recipes = {
        f"must_keras/recipes/{path.relative_to(ROOT / 'experiments')}"
        for path in (ROOT / "experiments").rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules | recipes
    pages = {"must_keras/report/page.html.j2", "must_keras/pseudo_labels/viewer/page.js"}
    assert pages <= set(names)
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "experiments/scenes.py"} <= inside
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
         tmp_path / "installed", wheel], check=True,
    )  # fmt: skip
    code = (
        "from must_keras import cli, experiment; "
        "print(experiment.load('scenes_benchmark', {'seed': '3'}, data_dir=None).seed, "
        "experiment.find('scenes'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "installed")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    path = tmp_path / "installed" / "must_keras" / "recipes" / "scenes.py"
    assert answer.stdout.split() == ["3", str(path)]
