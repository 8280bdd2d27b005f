"""The one converter between models and JSON.

Writing is strict: one form for everything, exact decimals. Reading is lenient, field by field: an
unreadable value costs nothing but itself. The forms are those that the service was seen to send,
or that its contract declares; where those disagree, every form is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cache, partial
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn, override

from chat2pay_async._api import requests
from chat2pay_async._api.json import decode_any
from chat2pay_async._api.validation import MAX_DIGITS, exponent_of, member

__all__ = [
    "STAMP",
    "UnreadableError",
    "encode",
    "encode_json",
    "fields_of",
    "structure",
    "takes_stamp",
    "wire_name",
    "write_timestamp",
]

T = TypeVar("T")
Reader = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ODD_NAMES = {
    "from_": "from",
    "payment_link_ttl": "paymentLinkTTL",
    "payment_page_ttl": "paymentPageTTL",
}
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")
_YEAR = len("2021")
_LONGEST_DATE = len("2021-04-27")
_COMPACT = re.compile(r"(20\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?")
# Numbers from 2000 to 2100 in one unit are in no other one's range: a payment's time is there.
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800
_UNITS = (1, 10**3, 10**6, 10**9)
_FEWEST_PARTS, _MOST_PARTS = 5, 7


class UnreadableError(ValueError):
    """A value is in an unknown form for a field of its kind."""


@cache
def wire_name(attribute: str) -> str:
    """Return the name on the wire of an attribute."""
    if attribute in _ODD_NAMES:
        return _ODD_NAMES[attribute]
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


# Reading one value, where it is not of the JSON type that is kept as it is ------------------------


def read_text(value: Any) -> str:
    """Read a whole number as a text, since ids come as either."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnreadableError


def read_amount(value: Any) -> Decimal:
    """Read a number or a quoted number; its digits are kept."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = Decimal(value.strip())
    elif isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal) or abs(value.adjusted()) > MAX_DIGITS:
        raise UnreadableError
    exponent = exponent_of(value)
    if exponent is None or abs(exponent) > MAX_DIGITS:
        raise UnreadableError
    return value


def read_integer(value: Any) -> int:
    """Read a whole number, quoted or with an empty fraction too."""
    number = read_amount(value)
    if number != number.to_integral_value():
        raise UnreadableError
    return int(number)


def read_identifier(value: Any) -> int | str:
    """Return an id unchanged."""
    return value if isinstance(value, str) else read_integer(value)


def read_flag(value: Any) -> bool:
    """Read a quoted true or false."""
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise UnreadableError


def read_timestamp(value: Any) -> datetime:
    """Read a time in any form that says which it is.

    RFC 3339, Jackson's `+0000`, any fraction, no offset (UTC); digits without separators
    (`20210427173558`); seconds, milliseconds, microseconds or nanoseconds since 1970, which differ
    by their size; or Jackson's list of year, month, day, hour, minute, second and nanosecond. A
    date alone is no moment.
    """
    if isinstance(value, list):
        return _moment_of_parts(value)
    if isinstance(value, str):
        text = value.strip()
        # Nearly every time has its day, and so is no number.
        if text[_YEAR:].startswith("-") or not _DECIMAL.fullmatch(text):
            if len(text) <= _LONGEST_DATE:
                raise UnreadableError
            moment = datetime.fromisoformat(text.upper())
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    number = read_amount(value)
    digits = f"{number:f}"
    if compact := _COMPACT.fullmatch(digits):
        return datetime(*map(int, compact.groups("0")), tzinfo=UTC)  # type: ignore[arg-type, misc]
    exact = Fraction(number)
    for unit in _UNITS:
        if _EARLIEST * unit <= exact < _LATEST * unit:
            return _EPOCH + timedelta(microseconds=exact * 10**6 // unit)
    raise UnreadableError


def _moment_of_parts(parts: list[Any]) -> datetime:
    """Read a list of numbers; without its time of day it is no moment."""
    if not _FEWEST_PARTS <= len(parts) <= _MOST_PARTS or any(type(one) is not int for one in parts):
        raise UnreadableError
    year, month, day, hour, minute, second, nanosecond = (*parts, 0, 0)[:_MOST_PARTS]
    if 0 < nanosecond < 1000:  # Jackson can write milliseconds there, too  # noqa: PLR2004
        raise UnreadableError
    return datetime(year, month, day, hour, minute, second, nanosecond // 1000, UTC)


class Members(dict[Any, Any]):
    """A reader of an enum: a name is looked up, any other form goes through `read_enum`."""

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(kind.__members__)
        self._kind = kind

    def __missing__(self, value: Any) -> StrEnum | str:
        return read_enum(self._kind, value)


def read_enum(kind: type[StrEnum], value: Any) -> StrEnum | str:
    """Read a member's name, its words or its leaked Java form; an unknown text stays itself."""
    if not isinstance(value, str):
        raise UnreadableError
    known: StrEnum | str = member(kind, value)
    return known


def read_model(kind: type[Any], value: Any) -> Any:
    """Read an object within an object."""
    if not isinstance(value, dict):
        raise UnreadableError
    return structure(kind, value)


def read_models(kind: type[Any], value: Any) -> tuple[Any, ...]:
    """Read a list of objects."""
    if not isinstance(value, list):
        raise UnreadableError
    return tuple(read_model(kind, entry) for entry in value)


def _keep(value: Any) -> Any:
    return value


_SCALARS: dict[frozenset[Any], Reader] = {
    frozenset({str}): read_text,
    frozenset({Decimal}): read_amount,
    frozenset({int}): read_integer,
    frozenset({int, str}): read_identifier,
    frozenset({bool}): read_flag,
    frozenset({datetime}): read_timestamp,
}


def reader_for(annotation: Any) -> Reader:
    """Choose the reader for the values of an attribute that are not null."""
    if annotation is Any:
        return _keep
    if get_origin(annotation) is tuple:
        return partial(read_models, get_args(annotation)[0])
    kinds = _kinds_of(annotation)
    return _SCALARS.get(kinds) or _structured(kinds)


def _kinds_of(annotation: Any) -> frozenset[Any]:
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return frozenset(options) - {type(None)}


def _kept_kind(annotation: Any) -> type[Any] | None:
    """Return the JSON type whose values an attribute takes unchanged, without a reader."""
    kinds = _kinds_of(annotation)
    return next((kind for kind in (int, str, bool) if kind in kinds and kinds in _SCALARS), None)


def _structured(kinds: frozenset[Any]) -> Reader:
    (kind,) = kinds - {str}
    return Members(kind).__getitem__ if issubclass(kind, StrEnum) else partial(read_model, kind)


# Reading one object ------------------------------------------------------------------------------

_converter = cattrs.Converter()


@_converter.register_structure_hook_factory(attrs.has)
def _hook_for(kind: Callable[..., T]) -> Callable[[dict[str, Any], Any], T]:
    """Make the reader of a class; cattrs' own fails as a whole if one field does."""
    hints = get_type_hints(kind)
    given = [field for field in attrs.fields(cast("Any", kind)) if field.name not in _OWN]
    readers = {
        wire_name(one.name): (one.name, _kept_kind(hints[one.name]), reader_for(hints[one.name]))
        for one in given
    }
    required = {field.name: None for field in given if field.default is attrs.NOTHING}

    def read_object(data: dict[str, Any], _kind: object, **own: bool) -> T:
        fields: dict[str, Any] = required.copy()
        extra: dict[str, Any] = {}
        for name, raw in data.items():
            found = readers.get(name)
            if found is None:
                extra[name] = raw
                continue
            attribute, kept, read = found
            if type(raw) is kept:
                fields[attribute] = raw
            elif raw is not None:  # null is what an attribute is without it
                try:
                    fields[attribute] = read(raw)
                except Exception:  # noqa: BLE001 - whatever form it was, its neighbours still count
                    extra[name] = raw
        return kind(**fields, **own, extra=extra) if extra else kind(**fields, **own)

    return read_object


_OWN: Final = frozenset({"deduplication_key", "extra", "recovered", "replayed"})
"""Attributes that are not on the wire."""

_reader_of: Callable[[Any], Callable[..., Any]] = cache(_converter.get_structure_hook)


def structure(kind: Callable[..., T], data: dict[str, Any], **own: bool) -> T:
    """Read an object. It never fails: an unreadable field is None, and its raw value in `extra`.

    Args:
        kind: Its class.
        data: Its fields on the wire.
        **own: Attributes that are not on the wire.
    """
    value: T = _reader_of(kind)(data, kind, **own)
    return value


# Writing -----------------------------------------------------------------------------------------


_writer_of: Callable[[Any], Callable[[Any], Any]] = cache(_converter.get_unstructure_hook)


def write_timestamp(value: datetime) -> str:
    """Write a time in RFC 3339, in UTC, with milliseconds."""
    moment = value if value.tzinfo is UTC else value.astimezone(UTC)
    try:
        # Six decimals, or none, in a tenth of the time that `isoformat` takes.
        text: str = msgspec.to_builtins(moment)
    except TypeError:  # it knows no class that is derived from datetime, such as pandas'
        return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return f"{text[:23]}Z" if moment.microsecond else f"{text[:19]}.000Z"


def _write_items(items: tuple[Any, ...]) -> list[Any]:
    return [_writer_of(type(item))(item) for item in items]


def _writer_for(annotation: Any) -> Callable[[Any], Any]:
    """Choose the writer for an attribute's values; msgspec writes the other types by itself."""
    if annotation is datetime:
        return write_timestamp
    return _write_items if get_origin(annotation) is tuple else identity


@_converter.register_unstructure_hook_factory(attrs.has)
def _writer_of_class(kind: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """Make the writer of a request's class, or of a line item, without a subclass's own fields."""
    kind = next(base for base in kind.__mro__ if base.__module__ == requests.__name__)
    hints = get_type_hints(kind)
    overrides: dict[str, Any] = {
        field.name: override(
            rename=wire_name(field.name),
            unstruct_hook=_writer_for(hints[field.name]),
            omit=field.name == "extra",
            omit_if_default=field.default in (None, ()),
        )
        for field in attrs.fields(kind)
    }
    return make_dict_unstructure_fn(kind, _converter, **overrides)


def _write_subclass(value: Any) -> Any:
    """Convert a value of a class derived from str, int, …, such as numpy's texts and floats."""
    if isinstance(value, str):
        return str.__str__(value)
    (kind,) = (kind for kind in (int, float, Decimal) if isinstance(value, kind))
    return kind(value)


# The decimals of a request are finite and have no exponent (`validation.amount`), which this writes
# digit for digit; NaN and 1E+2 it would write as they are.
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_write_subclass)


STAMP: Final = "sdkRequestId"
"""The key of the minted id in `additionalData`."""


def encode(request: Any, request_id: str | None = None) -> bytes:
    """Write a request as JSON, exact to the digit, with a minted id in its additional data."""
    data = _writer_of(type(request))(request)
    if request_id is not None:
        data["additionalData"] = {**data.get("additionalData", {}), STAMP: request_id}
    return _encoder.encode(data)


def fields_of(request: Any) -> dict[str, Any]:
    """Return the fields of a request that `encode` writes, as reading them back would."""
    fields: dict[str, Any] = _writer_of(type(request))(request)
    for name, value in fields.items():
        if type(value) not in _PLAIN:
            fields[name] = decode_any(_encoder.encode(value))
    return fields


_PLAIN: Final = frozenset({str, bool, Decimal})
"""Types of values that come back as they were."""


def encode_json(value: Any) -> bytes:
    """Write a checked value as JSON, exact to the digit."""
    return _encoder.encode(value)


def takes_stamp(request: Any) -> bool:
    """Tell whether a minted id fits in: the data is an object without one, or None."""
    data = request.additional_data
    return data is None or (isinstance(data, dict) and STAMP not in data)
