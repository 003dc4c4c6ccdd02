"""What is true of any tensor."""

from typing import Any

Tensor = Any
"""A tensor of Keras' backend; a symbolic one, or an array, where a function allows it."""
