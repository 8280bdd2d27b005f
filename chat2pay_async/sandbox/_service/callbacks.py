"""The callbacks that the service posts: which are made, to whom, and what became of them."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random
from threading import Lock
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from chat2pay_async.sandbox._errors import SandboxError

CallbackKind = Literal["transaction_status", "payment_status", "configuration"]
CALLBACK_KINDS: Final[tuple[CallbackKind, ...]] = get_args(CallbackKind)
"""All of them."""

_FIRST_DELAY: Final = timedelta(seconds=1)
_LONGEST_DELAY: Final = timedelta(minutes=5)
_KEPT: Final = 10_000
_OK: Final = 200
_LOOK_AGAIN: Final = 0.005


@dataclass(frozen=True, slots=True)
class SandboxCallback:
    """Something that the service has to tell.

    Attributes:
        kind: The kind, one of `CALLBACK_KINDS`.
        order_number: The order that it is about; None for a configuration.
        payment_link_ref: The link that it is about; None for a configuration.
        body: The JSON that is posted. It has personal data, so `repr` does not show it.
        at: The time at which it happened, on the sandbox's clock.
    """

    kind: CallbackKind
    order_number: str | None
    payment_link_ref: str | None
    body: bytes = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class CallbackDelivery:
    """One attempt to post a callback, which has ended.

    Attributes:
        callback: The callback.
        url: Where it was posted to.
        attempt: 1 for the first; a copy that was asked for begins anew.
        status: The status of the answer; None if there was none.
        error: Why there was none, such as `ConnectError`.
        at: The time of its end, on the sandbox's clock.
    """

    callback: SandboxCallback
    url: str
    attempt: int
    status: int | None
    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Posting:
    """A callback that is to be posted to one URL."""

    callback: SandboxCallback
    url: str
    attempt: int = 1


class Callbacks:
    """The callbacks of an account: where they go, and what became of them.

    They are delivered while the sandbox is served (`serve_sandbox`, the command line), in order,
    one at a time to each URL. What is not answered with a 200 is delivered again after 1 s on the
    sandbox's clock, then 2, 4 and so on, at the longest 5 minutes, until it is. Without a URL none
    are made. They may be used from several threads.

    Attributes:
        copies: How often each is delivered, as a service does that is not sure of the first.
        shuffle: Seconds by which each delivery may be late, so that they come out of order.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.copies: int = 1
        self.shuffle: float = 0.0
        self._random = Random(seed)  # noqa: S311 - an order that a seed can repeat
        self._lock = Lock()
        self._urls: dict[CallbackKind, tuple[str, ...]] = {}
        self._numbers = count()
        self._waiting: list[tuple[datetime, int, Posting]] = []
        self._posted = 0
        self._made: deque[SandboxCallback] = deque(maxlen=_KEPT)
        self._deliveries: deque[CallbackDelivery] = deque(maxlen=_KEPT)

    def send_to(self, url: str, *kinds: CallbackKind) -> None:
        """Post callbacks to a URL from now on, beside those that are set already.

        Args:
            url: An http or https URL.
            *kinds: The kinds that go there. Default: all of them.

        Raises:
            SandboxError: It is no such URL, or there is no such kind.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SandboxError(f"{url!r} is not a URL that callbacks can be posted to")
        for kind in kinds:
            if kind not in CALLBACK_KINDS:
                raise SandboxError(
                    f"{kind!r} is not a kind of callback; there are {', '.join(CALLBACK_KINDS)}"
                )
        with self._lock:
            for kind in kinds or CALLBACK_KINDS:
                self._urls[kind] = (*(u for u in self._urls.get(kind, ()) if u != url), url)

    def stop(self) -> None:
        """Post no more callbacks: forget the URLs, and what is still to be delivered."""
        with self._lock:
            self._urls.clear()
            self._waiting.clear()

    @property
    def urls(self) -> dict[CallbackKind, tuple[str, ...]]:
        """The URLs of each kind."""
        with self._lock:
            return dict(self._urls)

    @property
    def made(self) -> tuple[SandboxCallback, ...]:
        """The callbacks until now, the latest 10 000."""
        with self._lock:
            return tuple(self._made)

    @property
    def deliveries(self) -> tuple[CallbackDelivery, ...]:
        """The attempts to deliver them that have ended, the latest 10 000."""
        with self._lock:
            return tuple(self._deliveries)

    @property
    def pending(self) -> int:
        """The number of deliveries that are still to come, or in progress."""
        with self._lock:
            return len(self._waiting) + self._posted

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until all are delivered. It blocks: from an async test, call it in a thread.

        Raises:
            TimeoutError: Some were not, in so many seconds.
        """
        end = time.monotonic() + timeout
        while left := self.pending:
            if time.monotonic() > end:
                raise TimeoutError(f"{left} callbacks were not delivered in {timeout:g} s")
            time.sleep(_LOOK_AGAIN)

    def wants(self, kind: CallbackKind) -> bool:
        """Return True if callbacks of a kind go anywhere."""
        return kind in self._urls

    def add(self, callback: SandboxCallback) -> None:
        """Make a callback."""
        with self._lock:
            self._made.append(callback)
            for url in self._urls.get(callback.kind, ()):
                for _ in range(self.copies):
                    self._later(Posting(callback, url), callback.at)

    def take(self, now: datetime) -> list[Posting]:
        """Take what is to be posted now, in order; `ended` says what became of each."""
        with self._lock:
            taken: list[Posting] = []
            while self._waiting and self._waiting[0][0] <= now:
                taken.append(heappop(self._waiting)[2])
            self._posted += len(taken)
            return taken

    def ended(self, posting: Posting, status: int | None, error: str, now: datetime) -> None:
        """Log the end of an attempt; if it was not answered with a 200, another one follows."""
        callback, url, attempt = posting.callback, posting.url, posting.attempt
        with self._lock:
            self._posted -= 1
            self._deliveries.append(CallbackDelivery(callback, url, attempt, status, error, now))
            if status != _OK and url in self._urls.get(callback.kind, ()):
                delay = min(_FIRST_DELAY * 2 ** min(attempt - 1, 16), _LONGEST_DELAY)
                self._later(replace(posting, attempt=attempt + 1), now + delay)

    def returned(self, postings: Iterable[Posting], now: datetime) -> None:
        """Put back what was taken and not posted, since the server has stopped."""
        with self._lock:
            for posting in postings:
                self._posted -= 1
                self._later(posting, now)

    def _later(self, posting: Posting, at: datetime) -> None:
        late = timedelta(seconds=self._random.uniform(0, self.shuffle))
        heappush(self._waiting, (at + late, next(self._numbers), posting))
