"""Readers of the HTML that reports consist of."""

import base64
import html.parser
import io
from xml.etree import ElementTree

from PIL import Image

_VOID = ("meta", "img", "br", "input", "link")


class _Builder(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tree = ElementTree.TreeBuilder()

    def handle_starttag(self, tag, attributes):
        self.tree.start(tag, {key: value or "" for key, value in attributes})
        if tag in _VOID:
            self.tree.end(tag)

    def handle_endtag(self, tag):
        self.tree.end(tag)

    def handle_data(self, data):
        self.tree.data(data)


def parse(text: str) -> ElementTree.Element:
    """The element of a page, or of the blocks of a section."""
    builder = _Builder()
    builder.feed(text if "<html" in text else f"<div>{text}</div>")
    return builder.tree.close()


def section(found, run) -> ElementTree.Element:
    """The element of a section of the report."""
    return parse("".join(found(run)))


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def texts(element: ElementTree.Element, tag: str) -> list[str]:
    """The texts of all elements of a kind."""
    return [text(found) for found in element.iter(tag)]


def rows(element: ElementTree.Element) -> list[list[str]]:
    """The cells of all lines of all tables, the heads among them."""
    return [[text(cell) for cell in line] for line in element.iter("tr")]


def row(element: ElementTree.Element, first: str) -> list[ElementTree.Element]:
    """The cells of the line that begins so."""
    return next(list(line) for line in element.iter("tr") if text(line[0]).startswith(first))


def picture(element: ElementTree.Element) -> Image.Image:
    """The picture of an <img>."""
    data = element.attrib["src"].partition("base64,")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
