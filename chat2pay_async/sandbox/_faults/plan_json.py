"""Fault plans in JSON and on the command line."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin

import cattrs
from cattrs.gen import make_dict_structure_fn

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._faults.plan import PRESETS, FaultKind, FaultPlan, InjectedFault
from chat2pay_async.sandbox._service import json
from chat2pay_async.sandbox._service.serialization import Body

_T = TypeVar("_T")
# The overloads of `get_origin` do not accept every class.
_origin: Callable[[object], object] = get_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlanDocument(FaultPlan):
    """A plan's fields, all optional, and the name of the preset that they change."""

    preset: str = ""


@dataclass(frozen=True, slots=True)
class _Script:
    """The faults of an operation's next requests."""

    operation: str
    faults: tuple[InjectedFault | None, ...]


def named_plan(name: str) -> FaultPlan:
    """Return a preset.

    Raises:
        SandboxError: There is none of that name.
    """
    plan = PRESETS.get(name)
    if plan is None:
        raise SandboxError(f"{name!r} is not a preset; there are {', '.join(PRESETS)}")
    return plan


def read_plan(text: bytes) -> FaultPlan:
    """Read a plan from JSON: a preset's name, or an object with a plan's fields.

    The object's `preset` names the plan that its other fields change.

    Raises:
        SandboxError: It is not a plan.
    """
    value = _loads(text)
    if isinstance(value, str):
        return named_plan(value)
    document = _structure(value, _PlanDocument, "plan")
    given: Any = value
    base = named_plan(document.preset) if "preset" in given else FaultPlan()
    return replace(base, **{name: getattr(document, name) for name in given if name != "preset"})


def read_script(text: bytes) -> tuple[str, tuple[InjectedFault | None, ...]]:
    """Read the faults of an operation's next requests: `{"operation": …, "faults": […]}`.

    Raises:
        SandboxError: It is not a script.
    """
    script = read_object(text, _Script, "script")
    return script.operation, script.faults


def plan_argument(text: str) -> FaultPlan:
    """Read a plan from the command line: a preset's name, JSON, or a file with JSON.

    Raises:
        SandboxError: It is not a plan.
        OSError: There is no such file.
    """
    if text in PRESETS:
        return PRESETS[text]
    if text.lstrip().startswith("{"):
        return read_plan(text.encode())
    path = Path(text)
    if not path.exists():
        named = ", ".join(PRESETS)
        raise SandboxError(f"{text!r} is not a preset ({named}), a JSON object or a file")
    return read_plan(path.read_bytes())


def read_object(text: bytes, cls: type[_T], name: str) -> _T:
    """Read an object with the fields of a class from JSON.

    Raises:
        SandboxError: It is not one.
    """
    return _structure(_loads(text), cls, name)


def plan_body(plan: FaultPlan) -> Body:
    """Write a plan as JSON that `read_plan` reads."""
    body: Body = _converter.unstructure(plan)
    return body


def _loads(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise SandboxError("This is not readable JSON") from None


def _structure(value: object, cls: type[_T], name: str) -> _T:
    try:
        return _converter.structure(value, cls)
    except (cattrs.BaseValidationError, ValueError) as error:
        problems = cattrs.transform_error(error, name, _problem)
        found = (problem.rpartition(" @ ") for problem in problems)
        raise SandboxError("; ".join(f"{where}: {what}" for what, _, where in found)) from None


def _problem(error: BaseException, _type: object) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        unknown = ", ".join(map(repr, sorted(error.extra_fields)))
        return f"unknown field {unknown}; there are {', '.join(f.name for f in fields(error.cl))}"
    return "is required" if isinstance(error, KeyError) else str(error)


def _require(value: object, expected: str, *types: type) -> None:
    if type(value) not in types:
        raise SandboxError(f"must be {expected}, not {json.dumps(value)}")


def _hook(expected: str, *types: type) -> Callable[[Any, object], Any]:
    # cattrs itself would take "1" for a number, and any value for a string.
    def structure(value: Any, cls: object) -> object:
        _require(value, expected, *types)
        return float(value) if cls is float else value

    return structure


def _structure_tuple(value: Any, cls: object) -> tuple[object, ...]:
    item, last = get_args(cls)
    _require(value, "a list", list)
    if last is not Ellipsis and len(value) != len((item, last)):
        raise SandboxError("must be a list of a smallest and a largest number")
    return tuple(_converter.structure(value, cast("Any", list)[item]))


def _object_hook(cls: type[Any]) -> Callable[[Any, object], object]:
    structure = make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, _cls: object) -> object:
        if cls is InjectedFault and isinstance(value, str):
            return InjectedFault(cast("FaultKind", value))
        _require(value, "an object", dict)
        return structure(value, cls)

    return hook


_text: Final = _hook("a string", str)
_converter: Final = cattrs.Converter()
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(bool, _hook("true or false", bool))
_converter.register_structure_hook(int, _hook("a whole number", int))
_converter.register_structure_hook(float, _hook("a number", int, Decimal))
_converter.register_structure_hook_func(lambda cls: _origin(cls) is tuple, _structure_tuple)
# A literal's values are checked by the class that has it.
_converter.register_structure_hook_func(lambda cls: _origin(cls) is Literal, _text)
_converter.register_structure_hook_factory(is_dataclass, _object_hook)
_converter.register_unstructure_hook(float, lambda value: Decimal(repr(value)))
