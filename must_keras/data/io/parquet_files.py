"""Parquet files: their columns of encoded images, and the names that Hugging Face writes."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from must_keras.errors import UserError, reason

_HUGGING_FACE = b"huggingface"


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
    """Yield a Parquet file; what reading it raises is a UserError of one line."""
    # Imported here: it takes a third of a second, and most runs read no Parquet.
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", path=path) from None
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError.at(path, f"cannot be read as Parquet: {reason(error)}") from None


def image_columns(schema: Any) -> list[str]:
    """Return the columns with encoded images: binary ones, and structs with binary "bytes".

    Args:
        schema: of an Arrow table.
    """
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    def is_image(kind: Any) -> bool:
        names = [kind.field(i).name for i in range(kind.num_fields)]
        has_bytes = types.is_struct(kind) and "bytes" in names
        return is_bytes(kind) or (has_bytes and is_bytes(kind.field(names.index("bytes")).type))

    return [field.name for field in schema if is_image(field.type)]


def class_names(schema: Any, column: str) -> list[str] | None:
    """Return the names that Hugging Face's ClassLabel has for a column, or None."""
    text = (schema.metadata or {}).get(_HUGGING_FACE)
    try:
        names = json.loads(text)["info"]["features"][column]["names"]
    except (TypeError, KeyError, ValueError):
        return None
    # Older files have {"0": name, "1": name, ...}.
    return [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
