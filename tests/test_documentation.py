"""The documentation's site: what it is written from, and that it leaves nothing out."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import public_names
import pytest
import tables

import chat2pay_async
from chat2pay_async._cli import app

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", tables.PAGES)
def test_a_page_about_code_says_what_the_code_says(name: str) -> None:
    """`python docs/_sphinx/tables.py` writes the pages anew."""
    assert (DOCS / name).read_text("utf-8") == f"{tables.WRITTEN}{tables.PAGES[name]()}\n"


def test_every_public_module_has_a_page() -> None:
    found = pkgutil.walk_packages(chat2pay_async.__path__, "chat2pay_async.")
    public = {one.name for one in found if "._" not in one.name}
    assert public | {"chat2pay_async"} == set(public_names.MODULES)


def test_every_public_name_is_described_once() -> None:
    listed = [name for one in public_names.MODULES for name in importlib.import_module(one).__all__]
    assert public_names.PUBLIC.keys() == set(listed)
    assert set(public_names.PUBLIC.values()) <= set(public_names.MODULES)
    homes = {
        name: public_names.PUBLIC[name] for name in ("OutcomeUnknownError", "Event", "Timeout")
    }
    assert homes == {
        "OutcomeUnknownError": "chat2pay_async.errors",
        "Event": "chat2pay_async.events",
        "Timeout": "chat2pay_async",
    }


def test_every_command_is_described() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    commands = [command[0] for command, _place, _brief in app._COMMANDS]
    assert len(commands) > 20
    assert [name for name in commands if f"\n### `chat2pay {name}`\n" not in text] == []


def test_every_page_is_in_the_side_bar() -> None:
    conf = (DOCS / "conf.py").read_text("utf-8")
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert {page for page in pages if f'"{page}"' not in conf} == set()
