"""Settling of what a client, or a process that died, left open."""

from __future__ import annotations

import anyio

from chat2pay_async import errors
from chat2pay_async._send.call import Options
from chat2pay_async._send.idempotency import KeyedCalls, Recovered
from chat2pay_async._send.reconciliation import Resolution
from chat2pay_async._tracebacks import hiding_arguments

__all__ = ["Recovery"]


class Recovery:
    """The part of `AsyncChat2Pay` that settles calls whose outcome is unknown."""

    _calls: KeyedCalls
    _options: Options

    @hiding_arguments
    async def resolve(self, pending: errors.Pending, *, another_key: bool = False) -> Resolution:
        """Settle a call that ended in `OutcomeUnknownError`: now, or later in another process.

        It looks the call up until it is settled, and sends nothing else. *Absent* counts once the
        call's window has passed: `Timeout.read` and `RetryPolicy.settle` seconds after its last
        attempt ended, or, where another process made the call, after this client first hears of it.
        The longer of the client's own settings and the call's count. Look-ups that fail stretch the
        window by up to three times `settle`; `timeout.total` ends it.

        Args:
            pending: The error's `.pending`, or one of `unsettled`; it may have been stored in
                between (`Pending.to_json`).
            another_key: Settle it although it was made with another API key, since the account's
                key was changed.

        Returns:
            The verdict. APPLIED comes with the result that the call would have had, ABSENT means
            that it can be made again, UNDETERMINED that its outcome is still unknown (as an absence
            is with `resend_when_absent=False`, this client's or the call's).

        Raises:
            ConfigurationError: The call was made with another base URL or API key.
        """
        given: object = pending
        if not isinstance(given, errors.Pending):
            raise TypeError(f"resolve takes an error's `.pending`, not {type(given).__name__}")
        resolution = await self._calls.resolve(pending, self._options, another_key=another_key)
        self._calls.sender.forget_settled({pending: resolution})
        return resolution

    @property
    def unsettled(self) -> tuple[errors.Pending, ...]:
        """The calls of this client that were cancelled while they may have been applied.

        A cancellation (`asyncio.timeout`, `wait_for`, a task group that ends, a web client that
        disconnects) can't be an error of ours, so nothing else tells their caller. The latest 1 000
        are kept, the latest last, and leave once they are settled; those that a journal has are in
        the journal. Store what is left before the process ends: `Pending.to_json`.
        """
        return self._calls.sender.unsettled

    async def resolve_all(self) -> dict[errors.Pending, Resolution]:
        """Settle all that is `unsettled`, side by side; see `resolve`.

        Returns:
            The resolution of each. Those that are UNDETERMINED stay `unsettled`, and where this is
            cancelled or fails, all of them do.
        """
        resolutions: dict[errors.Pending, Resolution] = {}
        failures: list[Exception] = []

        async def settle(pending: errors.Pending) -> None:
            try:
                resolutions[pending] = await self._calls.resolve(pending, self._options)
            except Exception as error:  # noqa: BLE001 - raised below: a group would wrap it
                failures.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for pending in self.unsettled:
                group.start_soon(settle, pending)
        if failures:
            raise failures[0]
        self._calls.sender.forget_settled(resolutions)
        return resolutions

    async def recover(self) -> Recovered:
        """Settle what processes that died left in the journal: at start-up, and now and then.

        Each of their calls is looked up, for `Timeout.read` and `RetryPolicy.settle` seconds from
        now on, since what a dead process sent may still arrive; nothing is sent. What others that
        are alive work on is left to them. Several processes may call it at a time.

        Returns:
            The numbers of calls that were applied and absent, and those that are still unknown.

        Raises:
            ConfigurationError: The client has no journal.
            JournalError: It can't be used.
        """
        return await self._calls.recover(self._options)
