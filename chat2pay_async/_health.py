"""Health of a client: whether the service, the key and the journal can be used."""

from __future__ import annotations

from typing import Final

import attrs

from chat2pay_async import _eventloop as clock
from chat2pay_async import errors
from chat2pay_async._api.json import decode_object
from chat2pay_async._api.operations import GET_CONFIGURATION
from chat2pay_async._api.requests import ConfigurationQuery
from chat2pay_async._api.responses import is_own_refusal
from chat2pay_async._send.call import Options
from chat2pay_async._send.idempotency import KeyedCalls
from chat2pay_async.errors import Chat2PayError, Proof

__all__ = ["Health", "HealthChecks", "HealthPart"]


@attrs.frozen
class HealthPart:
    """Health of the service, the key or the journal."""

    is_usable: bool | None
    """None: it could not be found out."""
    reason: str = ""
    """The reason where it is not, or what else there is to know; it names no person and no key."""


@attrs.frozen
class Health:
    """Health of a client: `client.health`'s result."""

    service: HealthPart
    key: HealthPart
    journal: HealthPart | None
    """None: the client has none."""

    @property
    def is_healthy(self) -> bool:
        """True where nothing was found that can't be used."""
        parts = (self.service, self.key, self.journal)
        return all(part is None or part.is_usable is not False for part in parts)


class HealthChecks:
    """The part of `AsyncChat2Pay` that finds out whether it can work."""

    _calls: KeyedCalls
    _options: Options

    async def health(self) -> Health:
        """Find out whether the service, the key and the journal can be used; changes nothing.

        The service is asked for the configuration, once, within the timeouts of one request; a
        shorter answer takes `client.with_options(timeout=…).health()`. The journal is opened (and
        made, where there is none), and asked for a row that is not there.

        Returns:
            The health of each part, and the reason where one can't be used.

        Raises:
            ConfigurationError: The client is closed.
        """
        calls = self._calls
        calls.sender.check_open()
        options = _of_one_request(self._options)
        key = await _key_of(calls, options)
        if key.is_usable is False:
            service = HealthPart(None, "not asked: there is no key")
        else:
            service, key = await _ask_service(calls, options)
        return Health(service, key, await _ask_journal(calls, options))


_USABLE: Final = HealthPart(is_usable=True)
_UNKNOWN_KEY: Final = HealthPart(None, "not checked: the service did not say")
_REFUSED: Final = (errors.AuthenticationError, errors.PermissionDeniedError)


def _unusable(reason: str) -> HealthPart:
    return HealthPart(is_usable=False, reason=reason)


def _of_one_request(options: Options) -> Options:
    timeout = options.timeout
    longest = timeout.connect + timeout.write + timeout.read
    total = longest if timeout.total is None else min(longest, timeout.total)
    retry = attrs.evolve(options.retry, max_attempts=1)
    return Options(attrs.evolve(timeout, total=total), retry)


async def _key_of(calls: KeyedCalls, options: Options) -> HealthPart:
    """Ask for the key, where a callable has it."""
    ask = calls.sender.asking(options)
    if ask is not None:
        try:
            await ask()
        except Chat2PayError as error:
            return _unusable(str(error).removeprefix("nothing was sent: "))
    return _UNKNOWN_KEY


async def _ask_service(calls: KeyedCalls, options: Options) -> tuple[HealthPart, HealthPart]:
    """Return the health of the service, and of the key."""
    try:
        await calls.send(GET_CONFIGURATION, ConfigurationQuery(), options)
    except Chat2PayError as error:
        why = str(error).removeprefix(f"{GET_CONFIGURATION.name}: ")
        if error.attempts and error.attempts[-1].proof is Proof.THROTTLED:
            return attrs.evolve(_USABLE, reason="it throttles requests (429)"), _UNKNOWN_KEY
        if isinstance(error, _REFUSED) and _is_the_services(error):
            return _USABLE, _unusable(why)
        return _unusable(why), _UNKNOWN_KEY
    return _USABLE, _USABLE


def _is_the_services(error: errors.ApiError) -> bool:
    """Tell whether the service itself refused it: a proxy may have a page for it, too."""
    return is_own_refusal(error.status_code, decode_object(error.body))


async def _ask_journal(calls: KeyedCalls, options: Options) -> HealthPart | None:
    if calls.store is None:
        return None
    seconds = options.timeout.total
    assert seconds is not None  # noqa: S101 - it was set for one request
    try:
        return await clock.within(seconds, _look_into(calls))
    except clock.DeadlinePassed:
        return _unusable(f"it did not answer within {seconds:g} s")
    except errors.JournalError as error:
        return _unusable(str(error))
    except Chat2PayError:  # which account's it is, is not known
        return HealthPart(None, "not opened: there is no key")


async def _look_into(calls: KeyedCalls) -> HealthPart:
    store = await calls.opened()
    assert store is not None  # noqa: S101 - it was asked before
    await store.find(GET_CONFIGURATION.name, "")  # locks it, as what is written does
    if store.is_lossy:
        lossy = "its latest commits are lost, so everything is looked up before it is sent"
        return attrs.evolve(_USABLE, reason=lossy)
    return _USABLE
