"""Frozen classes are equal, hashed and shown as if attrs had compiled their methods."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import attrs
import pytest

import chat2pay_async
from chat2pay_async import events, models
from chat2pay_async._values import Value
from chat2pay_async.models import LineItem, PaymentLink, PaymentStatusEntry, Transaction


def below(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        # attrs replaces a class by one with slots; the first one may live on for a while.
        if one.__module__.startswith("chat2pay_async.") and "__attrs_attrs__" in vars(one):
            yield one
        yield from below(one)


KINDS = sorted({kind.__qualname__: kind for kind in below(Value)}.values(), key=repr)
DOORS = (chat2pay_async, events, models)


def made(kind: type[Any], **changed: object) -> Any:
    """A value whose fields are all different texts, which no converter or check has seen."""
    value = object.__new__(kind)
    for field in attrs.fields(kind):
        object.__setattr__(value, field.name, changed.get(field.name, f"a {field.name}"))
    return value


def compiled(kind: type[Any]) -> type[Any]:
    """The same class with the methods that attrs compiles."""
    twin = type(kind.__name__, (kind,), {"__qualname__": kind.__qualname__})
    return attrs.frozen(eq=True, repr=True)(twin)


def is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def test_there_are_values() -> None:
    assert {PaymentLink, Transaction, LineItem, events.CallFinished} <= set(KINDS)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_public_value_is_compared_and_shown_by_its_fields(door: Any) -> None:
    kinds = [getattr(door, name) for name in door.__all__ if attrs.has(getattr(door, name))]
    assert kinds
    for kind in kinds:
        assert kind.__eq__ is not object.__eq__, kind
        assert kind.__hash__ is not object.__hash__, kind
        assert kind.__repr__ is not object.__repr__, kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_is_shown_as_attrs_shows_it(kind: type[Any]) -> None:
    twin = compiled(kind)
    assert vars(twin)["__repr__"] is not Value.__repr__
    assert repr(made(kind)) == repr(made(twin))
    nothing: dict[str, Any] = {field.name: None for field in attrs.fields(kind)}
    assert repr(made(kind, **nothing)) == repr(made(twin, **nothing))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_equal_where_attrs_calls_them_equal(kind: type[Any]) -> None:
    twin = compiled(kind)
    assert vars(twin)["__eq__"] is not Value.__eq__
    assert made(kind) == made(kind)
    assert not made(kind) != made(kind)  # noqa: SIM202 - the other operator is under test
    for field in attrs.fields(kind):
        other = {field.name: "another"}
        assert (made(kind) != made(kind, **other)) is bool(field.eq)
        assert (made(twin) != made(twin, **other)) is bool(field.eq)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_hashed_by_the_fields_that_attrs_hashes(kind: type[Any]) -> None:
    twin = compiled(kind)
    assert vars(twin)["__hash__"] is not Value.__hash__
    assert hash(made(kind)) == hash(made(kind))
    for field in attrs.fields(kind):
        unhashable: dict[str, Any] = {field.name: []}
        assert is_hashable(made(kind, **unhashable)) == is_hashable(made(twin, **unhashable))
        is_hashed = not is_hashable(made(kind, **unhashable))
        other = {field.name: "another"}
        assert (hash(made(kind)) != hash(made(kind, **other))) == is_hashed


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_survives_pickling_and_copying(kind: type[Any]) -> None:
    value = made(kind)
    for copied in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):  # noqa: S301 - our own bytes
        assert copied == value
        assert type(copied) is kind
        assert hash(copied) == hash(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_has_no_dict_and_no_order(kind: type[Any]) -> None:
    assert not hasattr(made(kind), "__dict__")
    with pytest.raises(TypeError):
        assert made(kind) < made(kind)


def test_values_of_two_classes_are_not_equal() -> None:
    fields: dict[str, Any] = {"transaction_type": "Sale", "total_amount": Decimal(1)}
    entry = PaymentStatusEntry(**fields)
    assert entry != models.GatewayAnswer(**fields)
    assert entry != models.GatewayResult(**fields)
    assert entry != None  # noqa: E711 - the operator is under test
    assert hash(events.CallStarted("c1", "x")) != hash(events.Event("c1", "x"))


def test_nan_is_equal_to_nothing() -> None:
    value = events.Paused("c1", "get_transaction", math.nan)
    assert value != value  # noqa: PLR0124 - so it is for attrs' own methods
    assert attrs.evolve(value, seconds=1.0) == events.Paused("c1", "get_transaction", 1.0)


def test_a_value_within_itself_is_shown_as_dots() -> None:
    outer = PaymentLink(payment_link_ref="8a1f")
    object.__setattr__(outer, "error", outer)
    assert "error=..., " in repr(outer)


def test_a_local_class_is_shown_by_its_own_name() -> None:
    class Mine(LineItem):
        pass

    assert repr(Mine(name="Tea", unit_price="9.90")).startswith("Mine(name='Tea', unit_price=")


def test_a_plain_subclass_is_compared_by_the_same_fields() -> None:
    class Mine(LineItem):
        pass

    mine = Mine(name="Tea", unit_price="9.90")
    assert mine == Mine(name="Tea", unit_price="9.90")
    assert hash(mine) == hash(Mine(name="Tea", unit_price="9.90"))
    assert mine != LineItem(name="Tea", unit_price="9.90")


def test_an_attrs_subclass_has_what_it_asks_attrs_for() -> None:
    @attrs.frozen(kw_only=True, cache_hash=True)
    class Mine(LineItem):
        colour: str = attrs.field(default="green", eq=str.lower)

    mine = Mine(name="Tea", unit_price="9.90")
    assert mine == attrs.evolve(mine, colour="GREEN")
    assert hash(mine) == hash(attrs.evolve(mine, colour="GREEN"))
    assert mine != attrs.evolve(mine, colour="red")
    assert "colour='green'" in repr(mine)


def test_a_value_matches_a_pattern() -> None:
    match events.Paused("c1", "get_transaction", 2.0):
        case events.Paused("c1", operation, seconds=seconds):
            assert (operation, seconds) == ("get_transaction", 2.0)
        case _:
            pytest.fail("it should have matched")
