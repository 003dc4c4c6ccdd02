"""Additions to Sphinx: examples of docstrings, and the help texts of the commands."""

import argparse
import re

from absl import flags
from docutils import nodes
from docutils.parsers.rst import Directive

_EXAMPLE = re.compile(r"^(\s*)Example:\s*$")


def show_example_as_code(app, what, name, found, options, lines: list[str]) -> None:
    """Turn the `Example:` of a docstring, which is plain code, into a code block."""
    for number, line in enumerate(lines):
        match = _EXAMPLE.match(line)
        if match:
            indent = match[1]
            lines[number : number + 1] = [
                f"{indent}.. rubric:: Example",
                "",
                f"{indent}.. code-block:: python",
                "",
            ]
            return


def show_factories_as_dots(app, what, name, found, options, signature, returned):
    """Replace the default `<factory>` of dataclasses, which no parser of signatures reads."""
    return signature and signature.replace("<factory>", "..."), returned


class Commands(Directive):
    """The help text of every command of `must-keras`, from its own parser."""

    def run(self) -> list[nodes.Node]:
        """Return a section for every command."""
        from must_keras import cli

        found = []
        for command in cli.COMMANDS:
            name = f"must-keras {command.name}"
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            section += nodes.title(name, name)
            section += nodes.paragraph(text=command.summary)
            parser = argparse.ArgumentParser(
                prog=name, formatter_class=lambda prog: argparse.HelpFormatter(prog, width=88)
            )
            command.add_arguments(parser)
            section += nodes.literal_block(text=parser.format_help(), language="text")
            found.append(section)
        return found


class Flags(Directive):
    """The flags of `python -m must_keras.main`, from their own definitions."""

    def run(self) -> list[nodes.Node]:
        """Return a list of definitions."""
        from must_keras import main

        listed = nodes.definition_list()
        for flag in flags.FLAGS.get_key_flags_for_module(main.__name__):
            term = nodes.term("", "", nodes.literal(text=f"--{flag.name}"))
            if flag.default not in (None, False, []):
                term += nodes.Text(f" = {flag.default}")
            text = nodes.definition("", nodes.paragraph(text=flag.help))
            listed += nodes.definition_list_item("", term, text)
        return [listed]


def setup(app):
    """Register all."""
    app.connect("autodoc-process-docstring", show_example_as_code, priority=400)
    app.connect("autodoc-process-signature", show_factories_as_dots)
    app.add_directive("commands", Commands)
    app.add_directive("flags", Flags)
    return {"parallel_read_safe": True}
