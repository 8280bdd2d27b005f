"""The enums have the words of the contract, and each is the text on the wire."""

from __future__ import annotations

import enum
import json
import pickle

import pytest

from chat2pay_async._api import enums as module
from chat2pay_async._api.enums import (
    Channel,
    IntegrationStatus,
    IntegratorType,
    PaymentStatus,
    TransactionStatus,
    TransactionType,
)

KINDS: tuple[type[enum.StrEnum], ...] = (
    Channel,
    IntegrationStatus,
    IntegratorType,
    PaymentStatus,
    TransactionStatus,
    TransactionType,
)
MEMBERS = [member for kind in KINDS for member in kind]


def test_these_are_all_the_enums() -> None:
    others = {"ChannelName", "IntegrationStatusName", "TransactionTypeName"}
    assert [kind.__name__ for kind in KINDS] == [n for n in module.__all__ if n not in others]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (Channel, 3),
        (TransactionType, 4),
        (TransactionStatus, 19),
        (PaymentStatus, 7),
        (IntegrationStatus, 3),
        (IntegratorType, 3),
    ],
)
def test_every_enum_has_its_members(kind: type[enum.StrEnum], members: int) -> None:
    assert len(kind) == members


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_is_the_word_that_travels(member: enum.StrEnum) -> None:
    word = member.value
    assert member == word
    assert f"{member}" == word
    assert {word: "found"}[member] == "found"
    assert json.dumps(member) == f'"{word}"'


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_members_name_is_its_word_in_capitals(member: enum.StrEnum) -> None:
    assert member.name == member.value.upper()


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_that_was_pickled_is_itself(member: enum.StrEnum) -> None:
    assert pickle.loads(pickle.dumps(member)) is member  # noqa: S301 - our own
