from __future__ import annotations

import math
import random

import anyio
import pytest

from chat2pay_async._transport.places import Place, Places, Waiter

pytestmark = pytest.mark.anyio


def places_of(size: int, *, max_idle: int = 99, expiry: float = 10.0) -> Places[str]:
    return Places(size, max_idle=max_idle, expiry=expiry)


def take(places: Places[str], key: str, link: str | None = None) -> Place[str]:
    place = places.take(key)
    assert place is not None
    if link is not None:
        place.link, place.key = link, key
    return place


def test_there_are_as_many_places_as_there_may_be_connections() -> None:
    places = places_of(2)
    assert take(places, "a") is not take(places, "a")
    assert places.take("a") is None
    assert len(places.everyone()) == 2


def test_the_connection_that_was_used_last_is_used_first() -> None:
    places = places_of(3)
    held = [take(places, "a", name) for name in ("first", "second", "third")]
    for now, place in enumerate(held):
        places.release(place, now)
    assert [take(places, "a").link for _ in held] == ["third", "second", "first"]


def test_a_place_whose_connection_is_gone_is_empty() -> None:
    places = places_of(1)
    place = take(places, "a", "one")
    place.link = None
    places.release(place, 0)
    assert take(places, "a") is place


def test_for_another_key_an_empty_place_comes_first_then_a_new_one_then_the_longest_idle() -> None:
    places = places_of(3)
    one, two = take(places, "a", "one"), take(places, "a", "two")
    empty = take(places, "a")
    places.release(empty, 0)
    places.release(one, 1)
    places.release(two, 2)
    assert take(places, "b") is empty
    assert take(places, "b") is one
    assert one.link == "one", "whoever holds the place closes what it does not want"
    places = places_of(2)
    places.release(take(places, "a", "one"), 0)
    assert take(places, "b").link is None


async def test_places_go_to_those_who_wait_in_their_order() -> None:
    places = places_of(1)
    place = take(places, "a", "one")
    first, second = places.queue(), places.queue()
    places.release(place, 0)
    assert (first.place, second.place) == (place, None)
    with anyio.fail_after(1):
        await first.bell.wait()
    with anyio.CancelScope(deadline=-math.inf) as unheard:
        await second.bell.wait()
    assert unheard.cancelled_caught
    assert places.take("a") is None, "nobody gets past those who wait"


async def test_who_leaves_gives_back_what_was_granted_in_the_meantime() -> None:
    places = places_of(1)
    place = take(places, "a", "one")
    gone, granted, last = places.queue(), places.queue(), places.queue()
    places.leave(gone, 0)
    places.release(place, 0)
    assert granted.place is place
    places.leave(granted, 0)
    assert last.place is place


def test_what_was_idle_for_too_long_is_overdue_the_oldest_first() -> None:
    places = places_of(3, expiry=10)
    one, two, busy = (take(places, "a", name) for name in ("one", "two", "busy"))
    places.release(one, 0)
    places.release(two, 5)
    assert places.overdue(9.9) is None
    assert places.overdue(10) is one
    assert places.overdue(10) is None
    assert places.overdue(15) is two
    assert places.overdue(99) is None
    assert busy.link == "busy"
    assert (places.has_expired(two, 14.9), places.has_expired(two, 15)) == (False, True)


def test_only_idle_connections_count_as_idle() -> None:
    places = places_of(5, max_idle=1)
    held = [take(places, "a", name) for name in "12345"]
    places.release(held[0], 0)
    assert places.overdue(0) is None
    places.release(held[1], 0)
    assert places.overdue(0) is held[0]
    assert places.overdue(0) is None


async def test_whatever_happens_no_place_is_lost_and_none_is_held_twice() -> None:  # noqa: C901
    chance = random.Random(1)  # noqa: S311 - a load
    places = places_of(4, max_idle=3, expiry=5)
    held: list[Place[str]] = []
    waiting: list[Waiter[str]] = []
    granted = 0
    for now in range(20_000):
        match chance.choice(("take", "take", "release", "leave", "overdue")):
            case "take":
                place = places.take(key := chance.choice("abc"))
                if place is None:
                    waiting.append(places.queue())
                else:
                    assert not any(waiter.place is None for waiter in waiting)
                    place.link, place.key = key, key
                    held.append(place)
            case "release" if held:
                place = held.pop(chance.randrange(len(held)))
                place.link = chance.choice((place.link, None))
                places.release(place, now)
            case "leave" if waiting:
                places.leave(waiting.pop(chance.randrange(len(waiting))), now)
            case "overdue":
                if (place := places.overdue(now)) is not None:
                    held.append(place)
            case _:
                continue
        for waiter in [waiter for waiter in waiting if waiter.place is not None]:
            if chance.random() < 0.5:
                waiting.remove(waiter)
                assert waiter.place is not None
                held.append(waiter.place)
                granted += 1
        in_hands = held + [waiter.place for waiter in waiting if waiter.place is not None]
        assert len(set(in_hands)) == len(in_hands)
        assert len(places.everyone()) <= 4
        if len(in_hands) < len(places.everyone()):
            assert all(waiter.place is not None for waiter in waiting)
    assert granted > 1000
    await anyio.lowlevel.checkpoint()
