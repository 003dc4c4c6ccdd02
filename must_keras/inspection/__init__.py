"""From folders to a recipe: `inspect` finds sets and pools, `write_recipe` writes them down."""

# ruff: noqa: F401 (the public names)

from must_keras.inspection.answers import Question
from must_keras.inspection.inspection import InspectedPool, InspectedSet, Inspection, inspect
from must_keras.inspection.recipe_file import init, recipe_text, write_recipe
