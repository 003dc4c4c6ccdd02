"""JSON files that are larger than what fits into memory as Python objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ijson

from must_keras.data.folders import Path
from must_keras.errors import UserError


def array_items(path: Path, *keys: str) -> Iterator[tuple[str, Any]]:
    """The elements of some arrays of a JSON object, one by one; the file is read once a key.

    Args:
        path: a file {"images": [...], "annotations": [...], "info": ...}.
        keys: of the arrays; one that is not there has no elements.

    Yields:
        (key, element), key by key.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        for key in keys:
            with open(path, "rb") as file:
                for item in ijson.items(file, f"{key}.item", use_float=True):
                    yield key, item
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (OSError, ijson.JSONError) as error:
        raise UserError(f"{path} cannot be read as a JSON object: {error}") from error
