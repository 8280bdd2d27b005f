"""Docstrings as Markdown: their indented code is fenced, so that each block has its colours."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

__all__ = ["as_page"]

_INDENTED = re.compile(r"(?:^ {4}.*\n(?:[ ]*\n(?= {4}))*)+", re.MULTILINE)
_DOCTEST = re.compile(r"(?:^ {0,4}>>> .*\n(?:^(?! *```) *\S.*\n)*)+", re.MULTILINE)


def _language(code: str) -> str:
    if code.startswith(">>>"):
        return "pycon"
    if re.match(r"(chat2pay|export|pip) ", code):
        return "console"
    if re.match(r"[a-z_]+(,[a-z_]+)+\n", code):
        return "text"
    try:
        compile(code, "", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return "text"
    return "python"


def _fenced(match: re.Match[str]) -> str:
    code = textwrap.dedent(match[0]).strip("\n")
    return f"\n```{_language(code)}\n{code}\n```\n\n"


def as_page(docstring: str) -> str:
    """Return a docstring as Markdown with fenced blocks, so that each has its colours."""
    text = inspect.cleandoc(docstring) + "\n"
    text = _DOCTEST.sub(_fenced, text)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [_INDENTED.sub(_fenced, part) for part in parts[::2]]
    # A page has one title: what a module's docstring calls one is below it.
    parts[::2] = [re.sub(r"^# ", "## ", part, flags=re.MULTILINE) for part in parts[::2]]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))
