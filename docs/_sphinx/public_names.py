"""The public names, each with the one module whose page describes it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["MODULES", "PUBLIC"]

PACKAGE = "chat2pay_async"
DOORS = (
    *("models", "errors", "events", "callbacks", "bulk", "files", "web", "opentelemetry"),
    *("distributed", "pytest_plugin", "sandbox", "cli"),
)
"""The public modules in the order of their pages; one that is not there is left out."""


def _door(name: str) -> ModuleType | None:
    full = f"{PACKAGE}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        return None


_FOUND = [door for name in DOORS if (door := _door(name))]
MODULES = (PACKAGE, *(door.__name__ for door in _FOUND))
"""The modules that have a page."""


def _public() -> dict[str, str]:
    """Return the module of each name: the first that has it, and the package for all others.

    Raises:
        ValueError: Two modules use one name for two things; then a name does not say which.
    """
    places: dict[str, ModuleType] = {}
    for module in (*_FOUND, import_module(PACKAGE)):
        for name in module.__all__:
            place = places.setdefault(name, module)
            if getattr(place, name) is not getattr(module, name):
                raise ValueError(f"{place.__name__} and {module.__name__} differ about {name}")
    return {name: place.__name__ for name, place in places.items()}


PUBLIC = _public()
"""Name → the public module that describes it."""
