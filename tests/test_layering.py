"""The order of the wings, and who may import an HTTP library.

Imports run one way, from the bottom floor of `FLOORS` upwards. A wing has few modules and few
floors of its own, so that it can be read as a whole.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

import chat2pay_async

PACKAGE = "chat2pay_async"
FOLDER = Path(chat2pay_async.__file__).parent

FLOORS = (
    ("errors", "_eventloop", "_reach", "_tracebacks", "_texts", "_values"),
    ("_config", "events", "_phones"),
    ("_transport", "_journal", "_workbooks"),
    ("_api",),
    ("_send", "_files"),
    ("_raw_client", "_recovery", "_polling", "_health"),
    ("_client",),
    ("_bulk", "_callbacks"),
    ("models", "bulk", "callbacks", "files", "opentelemetry", "sandbox", "web"),
    ("__init__",),
    ("_cli", "_pytest_sandbox"),
    ("cli", "pytest_plugin"),
    ("__main__",),
)
"""The wings and the single modules, the lowest floor first; each imports only from lower ones."""

FLOORS_OF_THE_SANDBOX = (
    ("_errors",),
    ("_service",),
    ("_faults",),
    ("_server",),
    ("_sandbox",),
    ("_serve",),
    ("__init__",),
    ("__main__",),
)
"""The same within the sandbox, where imports for types alone count too."""

MOST_FLOORS = 12
MOST_MODULES_IN_A_WING = 12
MOST_FLOORS_IN_A_WING = 7
LONGEST_MODULE = 500
LONGEST_FUNCTION = 40

HTTP_LIBRARIES = {"h11", "httpx", "httpx2", "httpcore", "aiohttp"}
KNOWS = {
    "_client": {"httpx", "httpx2"},
    "_transport.factory": {"httpx", "httpx2"},
    "_transport.fast": {"httpcore", "httpx"},
    "_transport.http1": {"httpcore"},
    "_transport.httpcore": {"httpcore"},
    "_transport.mocks": {"httpcore", "httpx"},
    "_transport.pool": {"httpcore", "httpx"},
    "_transport.proxy": {"httpcore", "httpx"},
    "_transport.response_reader": {"h11", "httpcore"},
    "sandbox._server.deliveries": {"httpx"},
}
"""HTTP libraries that each module imports; `_client` does so for types alone.

The sandbox posts callbacks in the place of the service: the transport, which it is to check, does
not carry them.
"""


@attrs.frozen
class Import:
    """One import: the module that it stands in, and the full name that it brings."""

    by: str
    name: str
    only_for_types: bool = False


def module_of(path: Path) -> str:
    """`_send.sender` of `_send/sender.py`, `_send` of `_send/__init__.py`."""
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def sources() -> Mapping[str, ast.Module]:
    """Every module of the package, parsed."""
    found = sorted(FOLDER.rglob("*.py"))
    return {module_of(path): ast.parse(path.read_text("utf-8")) for path in found}


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """Every import of a module, wherever in it the import stands."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(module, name, id(node) in for_types)


@cache
def all_imports() -> list[Import]:
    return [found for module, tree in sources().items() for found in imports_of(module, tree)]


def unit_of(module: str) -> str:
    """A wing, or a module that stands alone."""
    return module.partition(".")[0]


def target_of(name: str, modules: Iterable[str]) -> str | None:
    """The module of the package that a full name leads to; None if it is none of the package's."""
    package, _, rest = name.partition(".")
    if package != PACKAGE:
        return None
    parts = rest.split(".") if rest else []
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((module for module in names if module in set(modules)), "__init__")


def breaches(imports: Iterable[Import], floors: Iterable[Iterable[str]]) -> list[str]:
    """Imports that run the wrong way; nothing where all is well."""
    floor_of = {unit: floor for floor, units in enumerate(floors) for unit in units}
    found = []
    for one in imports:
        target = target_of(one.name, floor_of)
        by = unit_of(one.by)
        if target is None or unit_of(target) == by:
            continue
        if floor_of[unit_of(target)] >= floor_of[by]:
            found.append(f"{one.by} imports {one.name}")
    return found


def floors_of(edges: Mapping[str, set[str]]) -> int:
    """The number of floors: the longest chain of imports. Raises where there is a cycle."""
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(edges).static_order():
        height[name] = 1 + max((height[below] for below in edges.get(name, ())), default=0)
    return max(height.values())


def edges_within(wing: str | None) -> dict[str, set[str]]:
    """Return who imports whom: the modules of a wing, or (None) the wings themselves.

    The modules of a wing may import each other for types alone; those of the sandbox may not.
    """
    modules = sources()
    edges: dict[str, set[str]] = {}
    for one in all_imports():
        target = target_of(one.name, modules)
        if target is None or (one.only_for_types and wing not in {None, "sandbox"}):
            continue
        pair = (one.by, target) if wing else (unit_of(one.by), unit_of(target))
        edges.setdefault(pair[0], set())
        if pair[0] != pair[1] and all(wing in {None, unit_of(end)} for end in pair):
            edges[pair[0]].add(pair[1])
    return {by: to for by, to in edges.items() if wing in {None, unit_of(by)}}


WINGS = sorted({path.parent.name for path in FOLDER.glob("_*/__init__.py")})
ROOMS_OF_THE_SANDBOX = sorted(path.parent.name for path in FOLDER.glob("sandbox/_*/__init__.py"))


def test_every_module_has_its_floor() -> None:
    assert {unit_of(module) for module in sources()} == {unit for row in FLOORS for unit in row}


def test_imports_run_one_way() -> None:
    assert breaches(all_imports(), FLOORS) == []


def test_the_house_has_few_floors() -> None:
    assert floors_of(edges_within(None)) <= MOST_FLOORS


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_has_no_cycle_and_few_floors(wing: str) -> None:
    assert floors_of(edges_within(wing)) <= MOST_FLOORS_IN_A_WING


def test_the_sandbox_is_a_house_of_its_own_with_few_floors() -> None:
    assert floors_of(edges_within("sandbox")) <= MOST_FLOORS


def test_imports_within_the_sandbox_run_one_way() -> None:
    within = [
        attrs.evolve(
            one,
            by=one.by.partition(".")[2] or "__init__",
            name=one.name.replace(f"{PACKAGE}.sandbox", PACKAGE, 1),
        )
        for one in all_imports()
        if unit_of(one.by) == "sandbox"
    ]
    assert breaches(within, FLOORS_OF_THE_SANDBOX) == []


@pytest.mark.parametrize("room", ROOMS_OF_THE_SANDBOX)
def test_a_room_of_the_sandbox_has_few_floors(room: str) -> None:
    edges = edges_within("sandbox")
    inside = {module for module in sources() if module.startswith(f"sandbox.{room}.")}
    within = {module: edges.get(module, set()) & inside for module in inside}
    assert floors_of(within) <= MOST_FLOORS_IN_A_WING


@pytest.mark.parametrize("wing", [*WINGS, *(f"sandbox/{room}" for room in ROOMS_OF_THE_SANDBOX)])
def test_a_wing_has_few_modules(wing: str) -> None:
    modules = {path.stem for path in (FOLDER / wing).glob("*.py")} - {"__init__"}
    assert 1 <= len(modules) <= MOST_MODULES_IN_A_WING


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    tree = sources()[module]
    assert (tree.body[-1].end_lineno or 0) <= LONGEST_MODULE
    long = {
        node.name: length
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := length_of(node)) > LONGEST_FUNCTION
    }
    assert long == {}


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring not counted."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_the_transport_knows_no_api_and_the_journal_knows_no_call() -> None:
    known = {
        wing: {
            unit_of(target_of(one.name, sources()) or wing)
            for one in all_imports()
            if unit_of(one.by) == wing
        }
        - {wing}
        for wing in ("_transport", "_journal")
    }
    below = {"errors", "_eventloop", "_config", "_tracebacks", "events"}
    assert known["_transport"] <= below
    assert known["_journal"] <= below | {"_values"}


def test_the_sandbox_imports_nothing_of_the_package_it_is_to_check() -> None:
    assert edges_within(None)["sandbox"] == set()


def test_only_the_command_line_and_the_fixture_import_the_sandbox() -> None:
    importers = {by for by, targets in edges_within(None).items() if "sandbox" in targets}
    assert importers == {"_cli", "_pytest_sandbox"}


def test_few_modules_know_an_http_library() -> None:
    known: dict[str, set[str]] = {}
    for one in all_imports():
        library = one.name.partition(".")[0]
        if library in HTTP_LIBRARIES:
            known.setdefault(one.by, set()).add(library)
    assert known == KNOWS


def test_outside_the_transport_http_libraries_are_imported_for_types_alone() -> None:
    at_run_time = {
        one.by
        for one in all_imports()
        if one.name.partition(".")[0] in HTTP_LIBRARIES and not one.only_for_types
    }
    assert {unit_of(module) for module in at_run_time - {"sandbox._server.deliveries"}} == {
        "_transport"
    }


# These checks can fail ----------------------------------------------------------------------------

SMALL = (("errors",), ("_config",), ("_send",), ("__init__",))


@pytest.mark.parametrize(
    "source",
    [
        "from chat2pay_async._send.sender import Sender",
        "from chat2pay_async._send import sender",
        "from chat2pay_async import errors, _send",
        "import chat2pay_async._send.sender",
        "import chat2pay_async._send as sending",
        "def late():\n    from chat2pay_async._send.sender import Sender",
        "class Late:\n    def late(self):\n        from chat2pay_async._send.sender import Sender",
        "try:\n    import chat2pay_async._send\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    from chat2pay_async._send.sender import Sender",
        "import chat2pay_async",
        "from chat2pay_async import Timeout",
        "from chat2pay_async import *",
    ],
)
def test_an_import_the_wrong_way_is_noticed(source: str) -> None:
    assert len(breaches(imports_of("_config", ast.parse(source)), SMALL)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from chat2pay_async.errors import Attempt, Fault",
        "from chat2pay_async import errors",
        "from chat2pay_async._config import Timeout",
        "import chat2pay_async.errors",
        "import httpx\nfrom collections.abc import Mapping",
    ],
)
def test_an_import_the_right_way_is_no_breach(source: str) -> None:
    assert breaches(imports_of("_config", ast.parse(source)), SMALL) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="relative"):
        list(imports_of("_config", ast.parse("from . import errors")))


def test_floors_are_counted_and_a_cycle_is_noticed() -> None:
    chain = {one: {other} for one, other in pairwise("abcd")}
    assert floors_of(chain) == len("abcd")
    with pytest.raises(graphlib.CycleError):
        floors_of({**chain, "d": {"a"}})


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
    assert {one.name: one.only_for_types for one in imports_of("_x", ast.parse(source))} == {
        "httpx": True,
        "httpcore": False,
        "httpx2": True,
        "aiohttp": False,
    }
