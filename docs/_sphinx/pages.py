"""The pages that are made when the site is built: the API, and the project's own documents."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Protocol

from fences import as_page
from public_names import MODULES, PUBLIC
from sphinx.application import Sphinx

__all__ = ["setup"]

ROOT = Path(__file__).parent.parent.parent


def _names_of(module: str) -> Iterator[str]:
    for name, place in PUBLIC.items():
        if place == module:
            yield name


def _directive(module: str, name: str) -> str:
    value = getattr(import_module(module), name)
    full = f"{module}.{name}"
    if not inspect.isclass(value):
        kind = "autofunction" if inspect.isroutine(value) else "autodata"
        return f".. {kind}:: {full}\n"
    options = [f".. autoclass:: {full}", "   :members:"]
    if issubclass(value, BaseException):
        options.append("   :show-inheritance:")
    else:
        known = {base.__name__ for base in inspect.getmro(value)[1:] if not _is_private(base)}
        options.append("   :undoc-members:")
        if Protocol not in value.__bases__:  # autodoc asks isinstance, which these refuse
            options.append(f"   :inherited-members: {', '.join(sorted(known))}")
    return "\n".join((*options, ""))


def _is_private(base: type) -> bool:
    """Tell whether a base is the package's own, and has no page: its members are its heirs'."""
    ours = base.__module__.startswith("chat2pay_async")
    return ours and base.__name__ not in PUBLIC and base.__name__ != "Value"


def _api_page(name: str) -> str:
    module = import_module(name)
    text = as_page(module.__doc__ or "")
    if name.endswith(".cli"):  # which has a page of its own
        text = "The commands of `chat2pay` are described in [Command line](../cli.md)."
    entries = "\n".join(_directive(name, one) for one in _names_of(name))
    return (
        f"# `{name}`\n\n```{{py:module}} {name}\n```\n\n{text}\n\n"
        f"## Names\n\n```{{eval-rst}}\n{entries}```\n"
    )


def _written(app: Sphinx) -> None:
    """Write the pages; Sphinx rebuilds those that have changed."""
    folder = Path(app.srcdir, "reference")
    folder.mkdir(exist_ok=True)
    pages = {name: _api_page(name) for name in MODULES}
    listed = "\n".join(MODULES)
    pages["api"] = (
        "# Python API\n\nEverything here is public; what is not here, or begins with an "
        "underscore, may change at any time. Models, errors and settings can also be imported "
        f"from `chat2pay_async` itself.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    for name, source in (("changelog", "CHANGELOG.md"), ("benchmarks", "benchmarks/RESULTS.md")):
        pages[name] = f"```{{include}} ../../{source}\n:relative-images:\n```\n"
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


_TITLES = {"reference/benchmarks": "Benchmarks <reference/benchmarks>"}
"""Entries of the side bar that do not have their page's title."""


def _navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the side bar to the front page, which is plain Markdown."""
    if name != "index":
        return
    found = app.config.c2p_navigation
    for caption, pages in found.items():
        there = [page for page in pages if Path(app.srcdir, f"{page}.md").exists()]
        lines = "\n".join(_TITLES.get(page, page) for page in there)
        source[0] += f"\n```{{toctree}}\n:caption: {caption}\n:hidden:\n\n{lines}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of all of this."""
    app.add_config_value("c2p_navigation", {}, "env", dict)
    app.connect("builder-inited", _written)
    app.connect("source-read", _navigation)
    return {"parallel_read_safe": True}
