"""The pages of the command line and of files, written from the commands and from the reader.

`python docs/_sphinx/tables.py` writes them; a test says when they are out of date.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

from fences import as_page

from chat2pay_async import cli
from chat2pay_async._api.requests import LineItem
from chat2pay_async._cli import app, options
from chat2pay_async._files import cells, columns, readers, rows

__all__ = ["PAGES"]

DOCS = Path(__file__).parent.parent
WRITTEN = "<!-- Written by docs/_sphinx/tables.py: change the code that it describes. -->\n\n"


def _table(header: str, lines: Iterable[tuple[str, ...]]) -> str:
    names = header.split(", ")
    cells_of = [tuple(cell.replace("|", r"\|") for cell in line) for line in lines]
    rows_of = [tuple(names), ("---",) * len(names), *cells_of]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows_of)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _documentation(kind: type) -> dict[str, str]:
    """Return the docstrings of a class's fields, which Python does not keep."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = getattr(tree, "body", [])
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target)] = str(ast.literal_eval(text.value))
    return found


# The command line --------------------------------------------------------------------------------

_SHARED = {
    options.ServiceOptions: "Service and output",
    options.JournalOptions: "Journal",
    options.CallOptions: "Single calls",
    options.JobOptions: "Runs",
    options.FileOptions: "Runs from a file",
    options.SourceOptions: "Reading a file",
    options.SandboxOptions: "Sandbox",
}
"""The options that several commands take, under the headings of the page."""


def _place(function: Callable[..., Any], argument: Any) -> type | None:
    """Return the class of shared options that has an option; None for a command's own."""
    name = argument.field_info.name
    places = (kind for kind in _kinds(get_type_hints(function)) if name in kind.__annotations__)
    return next(places, None)


def _kinds(hints: Mapping[str, Any]) -> list[type]:
    """Return the classes of shared options among some hints, and what they have inside."""
    given = {one for hint in hints.values() if isinstance(hint, type) for one in hint.__mro__}
    found = [kind for kind in _SHARED if kind in given]
    return found + [inner for kind in found for inner in _kinds(_own_hints(kind))]


def _own_hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: hints[name] for name in kind.__annotations__}


def _written(argument: Any) -> str:
    name = next(one for one in argument.names if not one.startswith(("--no-", "--empty-")))
    if argument.hint is bool or not name.startswith("-"):
        return f"`{name}`"
    return f"`{name} {name.strip('-').rpartition('-')[2].upper()}`"


def _option(argument: Any) -> tuple[str, str]:
    text = _one_line(argument.parameter.help)
    hint = argument.hint
    choices = get_args(hint) if not isinstance(hint, type) else ()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        choices = tuple(one.value for one in hint)
    if choices and all(isinstance(one, str) for one in choices):
        text += f" One of {', '.join(f'`{one}`' for one in choices)}."
    required = " **Required.**" if argument.required else ""
    return _written(argument), text + required


def _command(name: str, function: Callable[..., Any], found: Any) -> tuple[str, set[type]]:
    text = inspect.getdoc(function) or ""
    text = re.split(r"\n(?:Parameters\n-+|Args:)\n", text)[0]
    shown = [one for one in found.assemble_argument_collection(parse_docstring=True) if one.show]
    shared = {kind for one in shown if (kind := _place(function, one))}
    own = [one for one in shown if not _place(function, one)]
    places = [one for one in own if not one.names[0].startswith("-")]
    files = " ".join(one.names[0] if one.required else f"[{one.names[0]}]" for one in places)
    usage = f"chat2pay {name} {files}".strip()
    parts = [
        f"### `chat2pay {name}`",
        as_page(text).strip(),
        f"```console\n{usage} [OPTIONS]\n```" if shown else "",
        _table("Option, Meaning", map(_option, own)) if own else "",
    ]
    if shared:
        links = [
            f"[{_SHARED[kind].lower()}](#{_anchor(kind)})" for kind in _SHARED if kind in shared
        ]
        parts.append(f"And the options of {', '.join(links)}.")
    return "\n\n".join(filter(None, parts)), shared


def _anchor(kind: type) -> str:
    return f"options-{_SHARED[kind].lower().replace(' ', '-')}"


def _command_line() -> str:
    commands = app._apps(())  # noqa: SLF001 - the commands have no other list
    texts, briefs, by_kind = [], [], dict[type, dict[str, Any]]()
    for names, place, brief in app._COMMANDS:  # noqa: SLF001 - the same
        module, _, name = place.partition(":")
        function = getattr(import_module(f"chat2pay_async._cli.{module}"), name)
        found = commands
        for part in names[0].split():
            found = found[part]
        text, _shared = _command(names[0], function, found)
        texts.append(text)
        anchor = f"chat2pay-{names[0].replace(' ', '-')}"
        briefs.append((f"[`{names[0]}`](#{anchor})", brief))
        for one in found.assemble_argument_collection(parse_docstring=True):
            if one.show and (kind := _place(function, one)):
                by_kind.setdefault(kind, {})[one.field_info.name] = one
    shared = [
        f"### Options: {title.lower()}\n\n"
        + _table("Option, Meaning", (_option(one) for one in by_kind[kind].values()))
        for kind, title in _SHARED.items()
    ]
    introduction = as_page(cli.__doc__ or "").strip()
    return "\n\n".join(
        (
            f"# Command line\n\n{introduction}",
            "## Commands\n\n" + _table("Command, Purpose", briefs),
            *texts,
            "## Shared options",
            *shared,
        )
    )


# Files -------------------------------------------------------------------------------------------

_KINDS = {
    "Payment links": (rows.LINKS, "`chat2pay links create`, `files.read_payment_links`"),
    "Captures": (rows.CAPTURES, "`chat2pay captures`, `files.read_captures`"),
    "Reversals and cancellations": (
        rows.REFERENCES,
        "`chat2pay reversals`, `chat2pay cancellations`, `files.read_references`",
    ),
    "Receipts": (rows.RECEIPTS, "`chat2pay receipts`, `files.read_receipts`"),
    "Status look-ups": (rows.QUERIES, "`chat2pay status`, `files.read_queries`"),
}
_HEADER = """\
The first line of a file names its columns. Case, blanks, hyphens and underscores make no
difference: `Order Number` is `order_number`. A column that is not listed here is an error, unless
`--map NAME=COLUMN` says what it is or `--ignore NAME` leaves it out. `--set COLUMN=VALUE` gives a
column to all rows."""
_NESTED = """\
`additional_data.customer` and the like, with any names, build the JSON of `additional_data`. Line
items are numbered from 0; a column `order_line_items` with a JSON list does the same."""
_TYPES: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    Decimal: "amount",
    bool: "yes or no",
}


def _type(hint: Any) -> str:
    kinds = [one for one in get_args(hint) if one is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else hint
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "name"
    if getattr(kind, "__name__", "") == "datetime":
        return "timestamp"
    return _TYPES.get(kind, "JSON")


def _field(kind: columns.Kind[Any], name: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    if name == columns.KEY:
        text = "A name for the call. Default: " + " and ".join(f"`{one}`" for one in kind.identity)
        return f"`{name}`", "", "text", text + "."
    holds = "phone number" if name == "to" else _type(get_type_hints(kind.model)[name])
    required = "yes" if name in kind.required else ""
    return f"`{name.rstrip('_')}`", required, holds, _one_line(texts.get(name))


def _kind(title: str, kind: columns.Kind[Any], used_by: str) -> str:
    texts = _documentation(kind.model)
    fields = [_field(kind, name, texts) for name in kind.columns]
    return f"## {title}\n\nFor {used_by}.\n\n" + _table("Column, Required, Holds, Meaning", fields)


def _tables_of(module: Any) -> str:
    """Return the table in a module's docstring, and what is said below it."""
    return textwrap.dedent(module.__doc__[module.__doc__.index("|") :]).strip()


def _file_columns() -> str:
    items = columns.ITEM
    texts = _documentation(LineItem)
    lines = [
        (f"`order_line_items.0.{name}`", *_field(items, name, texts)[2:]) for name in items.fields
    ]
    return "\n\n".join(
        (
            "# Columns of files",
            _HEADER,
            *(_kind(title, *rest) for title, rest in _KINDS.items()),
            "## Columns inside other columns",
            _NESTED,
            _table("Column, Holds, Meaning", lines),
            "## Cells",
            _tables_of(cells),
            "## Files",
            _tables_of(readers),
        )
    )


PAGES = {"cli.md": _command_line, "file-columns.md": _file_columns}
"""Name of a page → the function that returns its text."""


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(f"{WRITTEN}{page()}\n", "utf-8")


if __name__ == "__main__":
    main()
