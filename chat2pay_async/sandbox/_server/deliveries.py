"""The delivery of callbacks, beside the server: the sandbox's only requests to anybody."""

from collections import deque
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from chat2pay_async.sandbox._service.callbacks import Callbacks, Posting

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

_TIMEOUT: Final = 10.0
_INTERVAL: Final = 0.02
"""Seconds between two looks at what is due."""


class Account(Protocol):
    """The part of an account that delivering its callbacks takes."""

    @property
    def callbacks(self) -> Callbacks: ...
    def due_callbacks(self) -> list[Posting]: ...
    def now(self) -> "datetime": ...


class Sandbox(Protocol):
    """All accounts, of which there may soon be more."""

    @property
    def accounts(self) -> Iterable[Account]: ...


async def deliver(sandbox: Sandbox) -> None:
    """Post the callbacks of every account as they become due, until it is cancelled."""
    async with AsyncExitStack() as stack:
        http: httpx.AsyncClient | None = None
        while True:
            lines: dict[tuple[Account, str], deque[Posting]] = {}
            for account in sandbox.accounts:
                for posting in account.due_callbacks():
                    lines.setdefault((account, posting.url), deque()).append(posting)
            if not lines:
                await anyio.sleep(_INTERVAL)
                continue
            if http is None:
                http = await stack.enter_async_context(_client())
            async with anyio.create_task_group() as tasks:
                for (account, _), postings in lines.items():
                    tasks.start_soon(_post_all, http, account, postings)


def _client() -> "httpx.AsyncClient":
    import httpx  # noqa: PLC0415 - most sandboxes post nothing

    return httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT)


async def _post_all(http: "httpx.AsyncClient", account: Account, postings: deque[Posting]) -> None:
    try:
        while postings:
            status, error = await _post(http, postings[0])
            account.callbacks.ended(postings.popleft(), status, error, account.now())
    finally:
        # Where the server stops, what nobody has answered is still to be delivered.
        account.callbacks.returned(postings, account.now())


async def _post(http: "httpx.AsyncClient", posting: Posting) -> tuple[int | None, str]:
    import httpx  # noqa: PLC0415 - the same

    headers = {"content-type": "application/json"}
    try:
        answer = await http.post(posting.url, content=posting.callback.body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, type(error).__name__
    return answer.status_code, ""
