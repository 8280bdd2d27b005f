"""Fault plans in JSON and on the command line."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._faults.plan import FaultPlan, InjectedFault
from chat2pay_async.sandbox._faults.presets import PRESETS
from chat2pay_async.sandbox._service import json
from chat2pay_async.sandbox._service.serialization import Body

_Readers = Mapping[str, Callable[[object], object]]


def named_plan(name: str) -> FaultPlan:
    """Return a preset.

    Raises:
        SandboxError: There is none of that name.
    """
    plan = PRESETS.get(name)
    if plan is None:
        raise SandboxError(f"{name!r} is no preset; there are {', '.join(PRESETS)}")
    return plan


def read_plan(text: bytes) -> FaultPlan:
    """Read a plan from JSON: a preset's name, or an object with a plan's fields.

    The object's `preset` names the plan that its other fields change.

    Raises:
        SandboxError: It is no plan.
    """
    value = _loads(text)
    if isinstance(value, str):
        return named_plan(value)
    given = _members(value, {"preset": _text, **_PLAN}, "a plan")
    preset = given.pop("preset", None)
    base = FaultPlan() if preset is None else named_plan(cast("str", preset))
    return replace(base, **cast("dict[str, Any]", given))


def read_script(text: bytes) -> tuple[str, tuple[InjectedFault | None, ...]]:
    """Read the faults of an operation's next requests: `{"operation": …, "faults": […]}`.

    Raises:
        SandboxError: They are none.
    """
    readers: _Readers = {"operation": _text, "faults": _faults_or_none}
    given = _members(_loads(text), readers, "a script")
    if given.keys() != readers.keys():
        raise SandboxError("a script has operation and faults")
    return cast(
        "tuple[str, tuple[InjectedFault | None, ...]]", (given["operation"], given["faults"])
    )


def plan_argument(text: str) -> FaultPlan:
    """Read a plan from the command line: a preset's name, JSON, or a file with JSON.

    Raises:
        SandboxError: It is no plan.
        OSError: There is no such file.
    """
    if text in PRESETS:
        return PRESETS[text]
    if text.lstrip().startswith("{"):
        return read_plan(text.encode())
    path = Path(text)
    if not path.exists():
        named = ", ".join(PRESETS)
        raise SandboxError(f"{text!r} is no preset ({named}), no JSON object and no file")
    return read_plan(path.read_bytes())


def plan_body(plan: FaultPlan) -> Body:
    """Write a plan as JSON that `read_plan` reads."""
    return {
        field.name: [_fault_body(fault) for fault in plan.faults]
        if field.name == "faults"
        else _plain(getattr(plan, field.name))
        for field in fields(plan)
    }


def _fault_body(fault: InjectedFault) -> Body:
    return {field.name: _plain(getattr(fault, field.name)) for field in fields(fault)}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", value)]
    return Decimal(repr(value)) if isinstance(value, float) else value


def _loads(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise SandboxError("That is not readable JSON") from None


def _members(value: object, readers: _Readers, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SandboxError(f"{value!r} is not {what}")
    members = cast("dict[str, object]", value)
    for name in members:
        if name not in readers:
            raise SandboxError(f"{name!r} is no part of {what}; there are {', '.join(readers)}")
    return {name: readers[name](member) for name, member in members.items()}


def _fault(value: object) -> InjectedFault:
    if isinstance(value, str):
        return InjectedFault(cast("Any", value))
    given = _members(value, _FAULT, "a fault")
    if "kind" not in given:
        raise SandboxError("a fault has a kind")
    return InjectedFault(**cast("dict[str, Any]", given))


def _faults(value: object) -> tuple[InjectedFault, ...]:
    return tuple(map(_fault, _list(value)))


def _faults_or_none(value: object) -> tuple[InjectedFault | None, ...]:
    return tuple(None if each is None else _fault(each) for each in _list(value))


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise SandboxError(f"{value!r} is not a list")
    return cast("list[object]", value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise SandboxError(f"{value!r} is not a string")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise SandboxError(f"{value!r} is not true or false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise SandboxError(f"{value!r} is not a number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SandboxError(f"{value!r} is not a whole number")
    return value


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _pair(read: Callable[[object], object]) -> Callable[[object], object]:
    def pair(value: object) -> object:
        ends = tuple(map(read, _list(value)))
        if len(ends) != len(("smallest", "largest")):
            raise SandboxError(f"{value!r} is not a smallest and a largest number")
        return ends

    return pair


def _or_none(read: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else read(value)


_FAULT: Final[_Readers] = MappingProxyType(
    {
        "kind": _text,
        "rate": _number,
        "operations": _names,
        "form": _or_none(_text),
        "seconds": _or_none(_pair(_number)),
        "requests": _pair(_whole),
        "retry_after": _pair(_whole),
    }
)
_PLAN: Final[_Readers] = MappingProxyType(
    {
        "faults": _faults,
        "seed": _or_none(_whole),
        "clock_offset": _number,
        "no_date_header": _flag,
        "echo_additional_data": _flag,
        "unknown_order": _text,
    }
)
