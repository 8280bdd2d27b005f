"""Documents and docstrings name files, tests and sessions that are there."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from chat2pay_async import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "chat2pay_async"
DOCUMENTS = sorted(
    path
    for folder in (".", ".github", "benchmarks", "docs")
    for path in ROOT.glob(f"{folder}/*.md")
)
SOURCES = sorted(PACKAGE.rglob("*.py"))
BESIDE = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])
"""The modules that are no part of the package."""
SESSION = re.compile(r"^@nox\.session.*\ndef (\w+)", re.MULTILINE)


def docstrings(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            yield node.value


def openings(text: str) -> Iterator[str]:
    """Yield the docstrings of a module's text, those of its attributes included."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented):
            yield ast.get_docstring(node) or ""
        body = getattr(node, "body", None)
        for assigned, after in pairwise(body if isinstance(body, list) else []):
            if isinstance(assigned, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                yield str(getattr(after.value, "value", ""))


def names_of(source: Path) -> set[str]:
    """Every name that a module uses or defines."""
    with tokenize.open(source) as text:
        found = tokenize.generate_tokens(text.readline)
        return {token.string for token in found if token.type == tokenize.NAME}


def is_there(name: str, beside: Path) -> bool:
    """A file, by its name from the top, from the package, or from where it is named."""
    return any((folder / name).exists() for folder in (ROOT, PACKAGE, beside))


def dead_files(text: str, beside: Path) -> list[str]:
    """The names with a suffix, and the folders with a slash, that lead nowhere."""
    quoted = re.findall(r"`([\w./-]+(?:\.(?:py|md|json|svg|toml|lock)|/))`", text)
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    return [name for name in [*quoted, *linked] if not is_there(name, beside)]


QUESTION = re.compile(r"(What|Whether|How|Who|Whose|Where|When|Which|Why)\b")


@pytest.mark.parametrize(
    "source", [*SOURCES, *BESIDE], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_docstring_begins_with_a_verb_or_a_noun(source: Path) -> None:
    texts = openings(source.read_text("utf-8"))
    assert [text for text in texts if QUESTION.match(text)] == []


def test_the_docstrings_of_attributes_are_found() -> None:
    text = '"""A."""\nx = 1\n"""B."""\nclass Y:\n    z: int\n    """C."""\n    w = 2\n    f()\n'
    assert list(filter(None, openings(text))) == ["A.", "B.", "C."]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_what_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    assert dead_files(text, document.parent) == []
    sessions = SESSION.findall((ROOT / "noxfile.py").read_text("utf-8"))
    assert set(re.findall(r"\bnox -s (\w+)", text)) <= set(sessions)


def test_the_glossary_names_classes_that_are_there() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text("utf-8")
    glossary = text[text.index("## Words") : text.index("## How")]
    classes = set(re.findall(r"`([A-Z][a-z]\w*)[`.]", glossary))
    assert len(classes) > 15
    assert classes <= set().union(*map(names_of, SOURCES))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_name_files_that_are_there_and_no_private_module(source: Path) -> None:
    for text in docstrings(source):
        assert dead_files(text, source.parent) == []
        # A private module has no page of its own that a reader could go to.
        assert "`chat2pay_async._" not in text


def test_what_a_cancelled_call_may_have_done_is_said_where_errors_are() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Use")[2]
    beside_the_first_example = readme.split("```")[2]
    for name in (
        "OutcomeUnknown`",
        "`client.unsettled`",
        "client.resolve_all()",
        "asyncio.timeout",
    ):
        assert name in beside_the_first_example
    assert "`client.unsettled`" in (errors.__doc__ or "").partition("moved nothing")[2]


def test_a_name_that_leads_nowhere_is_found() -> None:
    text = "`_send/gone.py`, [chart](benchmarks/gone.svg), `gone/` and `pyproject.toml`"
    assert dead_files(text, ROOT) == ["_send/gone.py", "gone/", "benchmarks/gone.svg"]
