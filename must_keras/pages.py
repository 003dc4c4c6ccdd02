"""Pages for a person: one HTML file, which needs no server."""

import base64
import pathlib
from typing import Any

import jinja2


def render(template: pathlib.Path, **values: Any) -> str:
    """Return a page.

    Args:
        template: a Jinja template, which may include files of its folder.
        values: of its variables; only text that is Markup is not escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(values)


def data_uri(kind: str, data: bytes) -> str:
    """Return a picture as the address of an image: it needs no file of its own.

    Example:
        >>> data_uri("png", b"abc")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
