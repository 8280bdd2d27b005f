"""The forms in which the service, and what stands before it, may write the same values."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, cast, get_args

from chat2pay_async.sandbox._errors import SandboxError
from chat2pay_async.sandbox._service.records import (
    Channel,
    LinkStatus,
    PaymentStatus,
    TransactionType,
)

Body = Mapping[str, object]
Timestamps = Literal["jackson", "rfc3339", "epoch_milliseconds", "epoch_seconds"]
Enums = Literal["usual", "names", "words", "leaked"]
Numbers = Literal["numbers", "strings"]

_CHOICES: Final = {"timestamps": Timestamps, "enums": Enums, "numbers": Numbers}
_TIMES: Final = frozenset(
    {
        "timestamp",
        "created",
        "updateTime",
        "paymentStatusTimestamp",
        "paymentStatusConversionTime",
        "paymentGatewayResponseTimestamp",
    }
)
_ENUMS: Final[Mapping[str, tuple[str, type[Enum]]]] = {
    "channelName": ("ChannelType", Channel),
    "transactionType": ("TransactionType", TransactionType),
    "transactionStatus": ("TransactionStatus", LinkStatus),
    "transactionStatusName": ("TransactionStatus", LinkStatus),
    "paymentStatus": ("PaymentStatus", PaymentStatus),
}
_UNKNOWN: Final[Body] = {"fieldOfTomorrow": {"values": [1, "two", None]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class WireForms:
    """The forms of the values in responses and callbacks; by default the service's own.

    Attributes:
        timestamps: `jackson` (`2026-03-01T12:00:00.000+0000`), `rfc3339` (`…T12:00:00Z`),
            `epoch_milliseconds` or `epoch_seconds` (numbers).
        enums: `usual` is the service's mixture; `names` (`PAYMENT_LINK_SENT`), `words` (`Payment
            Link Sent`), `leaked` (`TransactionStatus.PAYMENT_LINK_SENT(name=…, id=2)`).
        numbers: `numbers`, or `strings` (`"199.90"`).
        unknown_fields: Put a field that no contract has into every object.

    Raises:
        SandboxError: There is no such form.
    """

    timestamps: Timestamps = "jackson"
    enums: Enums = "usual"
    numbers: Numbers = "numbers"
    unknown_fields: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise SandboxError(
                    f"{getattr(self, name)!r} is not a form of {name}; there are "
                    f"{', '.join(get_args(choices))}"
                )

    def written(self, body: Body) -> Body:
        """Write a body in these forms."""
        return body if self == _USUAL else cast("Body", self._value("", body))

    def body(self) -> Body:
        """Write these forms themselves as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def _value(self, name: str, value: object) -> object:
        if isinstance(value, Mapping):
            members = cast("Mapping[str, object]", value).items()
            more = _UNKNOWN if self.unknown_fields else {}
            return {**{key: self._value(key, item) for key, item in members}, **more}
        if isinstance(value, (list, tuple)):
            return [self._value(name, item) for item in cast("Iterable[object]", value)]
        if name in _TIMES and isinstance(value, str):
            value = _TIME_FORMS[self.timestamps](value)
        elif name in _ENUMS and isinstance(value, str):
            return _enum(self.enums, *_ENUMS[name], value)
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return str(value) if is_number and self.numbers == "strings" else value


def _enum(form: Enums, kind: str, members: type[Enum], value: str) -> str:
    if form == "usual":
        return value
    # The service's mixture has all three forms.
    name = value.partition("(")[0].rpartition(".")[2].replace(" ", "_").upper()
    words = name.replace("_", " ").title()
    if form == "names":
        return name
    return words if form == "words" else f"{kind}.{name}(name={words}, id={members[name].value})"


def _rfc3339(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at.isoformat(timespec='milliseconds')[:-6]}Z"


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


_TIME_FORMS: Final[Mapping[str, Callable[[str], Any]]] = {
    "jackson": lambda text: text,
    "rfc3339": _rfc3339,
    "epoch_milliseconds": _milliseconds,
    "epoch_seconds": lambda text: _milliseconds(text) // 1000,
}
_USUAL: Final = WireForms()
