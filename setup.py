"""Packages of the distribution; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

# Recipes lie in experiments/, and are installed as a part of the package.
RECIPES = {"must_keras.recipes": "experiments", "must_keras.recipes.paper": "experiments/paper"}

setup(packages=[*find_packages(include=["must_keras*"]), *RECIPES], package_dir=RECIPES)
