"""One corridor of rooms: each imports only from rooms above it, and few know httpx."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import pytest

import chat2pay_async

PACKAGE = "chat2pay_async"
FOLDER = Path(chat2pay_async.__file__).parent

CORRIDOR = (
    "errors",
    "_redaction",
    "_checks",
    "_plain",
    "_enums",
    "_requests",
    "models",
    "events",
    "_clock",
    "_limits",
    "_config",
    "_json",
    "_wire",
    "_operations",
    "_retry",
    "_answers",
    "_case",
    "_evidence",
    "_recovery",
    "_backend",
    "_network",
    "_places",
    "_proxies",
    "_pool",
    "_exchange",
    "_aiohttp",
    "_engines",
    "_line",
    "_call",
    "_settle",
    "_attempt",
    "_subcalls",
    "_send",
    "_raw",
    "_waiting",
    "_client",
    "_outcomes",
    "_rebuild",
    "_batches",
    "_seen",
    "_local_disk",
    "_journal_file",
    "_journal",
    "_stored",
    "_book",
    "_item",
    "_rehearsal",
    "_source",
    "_run",
    "bulk",
    "__init__",
    "sandbox",
    "_cells",
    "_sheets",
    "_columns",
    "_tables",
    "_campaign_file",
    "_report",
    "_output",
    "_printing",
    "_display",
    "_plan",
    "_course",
    "_jobs",
    "_watch",
    "_options",
    "_calls",
    "_commands",
    "cli",
    "__main__",
)
"""Every room, the topmost first. A new file gets its place here before anything else."""

HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "aiohttp"}
LONGEST_FILE = 400


@attrs.frozen
class Import:
    """One imported module or name, spelled out in full: `chat2pay_async._config.Timeout`."""

    name: str
    only_for_types: bool

    @property
    def room(self) -> str | None:
        """The room of the package that it comes from; None if it is none of the package's."""
        package, *inner = self.name.split(".")
        if package != PACKAGE:
            return None
        # `from chat2pay_async import Timeout` names no room: it is a name of the menu.
        return inner[0] if inner and inner[0] in CORRIDOR else "__init__"


def room_of(path: Path) -> str:
    """`errors` of `errors.py`, `sandbox` of everything in that folder."""
    return path.relative_to(FOLDER).parts[0].removesuffix(".py")


def source_files() -> list[Path]:
    return sorted(path for path in FOLDER.rglob("*.py"))


def imports_of(source: str, package: str = PACKAGE) -> Iterator[Import]:
    """Every import of a file in this package, wherever in the file it stands."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for name in _imported(node, package):
            yield Import(name, id(node) in for_types)


def _imported(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: 1 - node.level or None] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def package_of(path: Path) -> str:
    return ".".join([PACKAGE, *path.relative_to(FOLDER).parent.parts])


def breaches(imports: Mapping[str, Sequence[Import]], corridor: Sequence[str]) -> list[str]:
    """What breaks the order of the rooms; nothing where all is well."""
    found = [f"{room} has no place in the corridor" for room in imports if room not in corridor]
    places = {room: place for place, room in enumerate(corridor)}
    for room, imported in imports.items():
        for one in imported:
            if one.room in {None, room} or room not in places:
                continue
            if places[str(one.room)] > places[room]:
                found.append(f"{room} imports {one.name}, which is below it")
    return found


def imports_by_room() -> dict[str, list[Import]]:
    rooms: dict[str, list[Import]] = {}
    for path in source_files():
        found = imports_of(path.read_text("utf-8"), package_of(path))
        rooms.setdefault(room_of(path), []).extend(found)
    return rooms


def test_every_file_has_its_place_in_the_corridor_and_every_place_its_file() -> None:
    assert sorted(imports_by_room()) == sorted(CORRIDOR)


def test_a_room_imports_only_from_rooms_above_it() -> None:
    assert breaches(imports_by_room(), CORRIDOR) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    graph = {
        room: {str(one.room) for one in imported} - {room, "None"}
        for room, imported in imports_by_room().items()
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert sorted(order) == sorted(CORRIDOR)


def test_the_sandbox_imports_nothing_of_the_package_it_is_to_check() -> None:
    outside = [
        one.name
        for one in imports_by_room()["sandbox"]
        if one.room not in {None, "sandbox"} or one.name == PACKAGE
    ]
    assert outside == []


def test_nothing_on_the_clients_side_imports_the_sandbox() -> None:
    users = {
        room
        for room, imported in imports_by_room().items()
        if room != "sandbox" and any(one.room == "sandbox" for one in imported)
    }
    assert users == {"_commands"}


def test_few_rooms_know_an_http_library() -> None:
    known = {
        (room, one.only_for_types)
        for room, imported in imports_by_room().items()
        for one in imported
        if one.name.partition(".")[0] in HTTP_LIBRARIES
    }
    at_run_time = {room for room, only_for_types in known if not only_for_types}
    assert at_run_time == {"_aiohttp", "_engines", "_pool", "_backend", "_network", "_proxies"}
    assert {room for room, _ in known} - at_run_time == {"_client"}


@pytest.mark.parametrize(
    "path", source_files(), ids=lambda path: path.relative_to(FOLDER).as_posix()
)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE


# These checks can fail ----------------------------------------------------------------------------

ROOMS = ("errors", "_config", "_send", "__init__")


@pytest.mark.parametrize(
    "source",
    [
        "from chat2pay_async._send import Sender",
        "from chat2pay_async import _send",
        "from chat2pay_async import errors, _send",
        "import chat2pay_async._send",
        "import chat2pay_async._send as sending",
        "from . import _send",
        "from ._send import Sender",
        "def late():\n    from chat2pay_async._send import Sender",
        "class Late:\n    def late(self):\n        from ._send import Sender",
        "try:\n    import chat2pay_async._send\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    from chat2pay_async._send import Sender",
        "import chat2pay_async",
        "from chat2pay_async import Timeout",
        "from chat2pay_async import *",
    ],
)
def test_an_import_from_below_is_noticed(source: str) -> None:
    assert len(breaches({"_config": list(imports_of(source))}, ROOMS)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from chat2pay_async.errors import Attempt, Fault",
        "from chat2pay_async import errors",
        "from . import errors",
        "from .errors import Attempt",
        "from chat2pay_async._config import Timeout",
        "import chat2pay_async.errors",
        "import httpx\nfrom collections.abc import Mapping",
    ],
)
def test_an_import_from_above_is_none(source: str) -> None:
    assert breaches({"_config": list(imports_of(source))}, ROOMS) == []


def test_a_new_file_is_noticed() -> None:
    assert breaches({"errors": [], "_brand_new": []}, ROOMS) == [
        "_brand_new has no place in the corridor"
    ]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from chat2pay_async._wire import encode", "chat2pay_async._wire.encode"),
        ("from .._wire import encode", "chat2pay_async._wire.encode"),
        ("from .. import _wire", "chat2pay_async._wire"),
        ("from ._json import read", "chat2pay_async.sandbox._json.read"),
        ("from . import _json", "chat2pay_async.sandbox._json"),
    ],
)
def test_an_import_within_the_sandbox_is_followed_to_where_it_leads(source: str, name: str) -> None:
    assert [one.name for one in imports_of(source, "chat2pay_async.sandbox")] == [name]


def test_an_import_for_types_is_told_from_one_at_run_time() -> None:
    source = """
if TYPE_CHECKING:
    import httpx
else:
    import httpcore
if typing.TYPE_CHECKING:
    if True:
        import httpx2
def late():
    import aiohttp
"""
    assert {one.name: one.only_for_types for one in imports_of(source)} == {
        "httpx": True,
        "httpcore": False,
        "httpx2": True,
        "aiohttp": False,
    }
