"""Journal of an account: the values that go in and come out, and what every store of them can do.

A *row* is one idempotency key of one operation. Who works on a row holds its *claim*, and the
claim has a token: each write says *where the token is still mine*, so that whoever was frozen, and
whose claim was taken, writes nothing and sends nothing.

    claim ─► intent (durable) ─► POST ─► [response ─► intent ─► POST …] ─► end
          └► release (nothing was sent)

The store knows no rule of what may be sent: it says what it has, and callers decide.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import attrs

from chat2pay_async._values import Value
from chat2pay_async.errors import Attempt, Pending, Proof, SentRequest

__all__ = [
    "OPEN",
    "Account",
    "Answer",
    "Claim",
    "Claimed",
    "End",
    "Holder",
    "Intent",
    "Response",
    "Row",
    "RowState",
    "RunRecord",
    "Store",
    "moment",
]


class RowState(enum.StrEnum):
    """State of a row."""

    CLAIMED = "claimed"
    """Nothing was sent yet."""
    SENT = "sent"
    """A POST left, or was about to leave, and the end is not written."""
    APPLIED = "applied"
    """It took effect."""
    REJECTED = "rejected"
    """The service or the gateway refused it: it had no effect."""
    FAILED = "failed"
    """It had no effect, and nobody refused it."""
    UNKNOWN = "unknown"
    """The call ended without knowing; or its result is pending at the gateway."""


OPEN: Final = frozenset({RowState.SENT, RowState.UNKNOWN})
"""States of rows that may have had an effect: they are settled before anything is sent."""


@attrs.frozen(eq=False, repr=False)
class Account(Value):
    """Owner of a journal: one base URL and one API key."""

    base_url: str
    key_fingerprint: str


@attrs.define(eq=False, repr=False)
class Holder(Value):
    """Maker of a row: a run, or a single call."""

    run: str | None
    """The run's name; None for a single call."""
    at: datetime
    """The time, by the clock of the machine that wrote it."""


@attrs.define(eq=False, repr=False)
class Row(Value):
    """Row of a journal."""

    id: int
    operation: str
    key: str
    """The idempotency key."""
    content: bytes = attrs.field(repr=False)
    """The compared content, as `_journal.content` writes it: whole, or its digests."""
    state: RowState
    identity: str = attrs.field(repr=False)
    """The order number or the payment link reference, by which it is looked up."""
    claimed_by: Holder
    """The run or call that sent it, or is about to."""
    ended_at: datetime | None = None
    target: str | None = None
    """Of the latest POST; None where none left, or where it is not kept."""
    body: bytes | None = attrs.field(default=None, repr=False)
    request_id: str | None = None
    first_at: float = 0.0
    """The time at which this very request first left, in seconds since 1970."""
    last_at: float = 0.0
    service_at: float | None = None
    """The first on the service's clock; None where that was not known."""
    settle: float = 10.0
    """The process's `RetryPolicy.settle`; the next two likewise."""
    read_timeout: float = 30.0
    resend_when_absent: bool = True
    posts: int = 0
    """The number of POSTs that left, this request's and earlier ones'."""
    response: bytes | None = attrs.field(default=None, repr=False)
    """The body of the service's latest response, unchanged."""
    result: bytes | None = attrs.field(default=None, repr=False)
    """The result that look-ups read back, where no response had one."""
    detail: bytes | None = attrs.field(default=None, repr=False)
    """Attempts and error of its end."""

    @property
    def sent(self) -> SentRequest | None:
        """The exact request; None where none left, or where it is not kept any more."""
        return None if self.target is None else SentRequest("POST", self.target, self.body)

    def pending(self, account: Account, seen: tuple[Attempt, ...] = ()) -> Pending:
        """Return the call as its process left it.

        Args:
            account: The journal's.
            seen: The attempts at this very request whose end was seen.
        """
        sent = self.sent
        assert sent is not None  # noqa: S101 - only rows that were sent are pending
        attempts = seen or tuple(
            Attempt(moment(at), 0.0, Proof.UNKNOWN, error="Interrupted")
            for at in (self.first_at, self.last_at)
        )
        return Pending(
            operation=self.operation,
            identity=self.identity,
            request=sent,
            base_url=account.base_url,
            key_fingerprint=account.key_fingerprint,
            request_id=self.request_id,
            first_attempt=attempts[0],
            last_attempt=attempts[-1],
            service_time=None if self.service_at is None else moment(self.service_at),
            settle=self.settle,
            read_timeout=self.read_timeout,
            resend_when_absent=self.resend_when_absent,
            idempotency_key=None if self.key == self.identity else self.key,
        )


@attrs.define(eq=False, repr=False)
class Claim(Value):
    """Question: may I work on this key?"""

    operation: str
    key: str
    identity: str = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)
    """Whole, as `_journal.content` writes it."""
    run: str | None = None
    """The run that asks; it then has the key among its rows, whatever the answer is."""
    line: int | None = None
    """The row of the run's source, counted from 1, for its reports."""
    folded: str = attrs.field(default="", repr=False)
    """The key as look-alikes share it; see `_values.alike`."""
    takes_rejected: bool = True
    """Claim a row that was rejected, too; else it is only shown."""


class Answer(enum.Enum):
    """Answer to a claim."""

    NEW = "new"
    """The row is mine, and had no effect before: nothing, or a row that was rejected, failed, or
    claimed by a process that died before it sent anything. Its content is the claim's once a
    POST's intent is written; a claim that is given back leaves the one before."""
    OPEN = "open"
    """The row is mine, and may have had an effect that nobody works on: settle it first. Its
    content is still that of what was sent."""
    HELD = "held"
    """Somebody alive works on it."""
    ENDED = "ended"
    """It was applied (or rejected, where that is only to be shown). Nothing is claimed."""


@attrs.define(eq=False, repr=False)
class Claimed(Value):
    """Answer to a claim, with the row as it is now (HELD, ENDED) or was before (NEW, OPEN)."""

    answer: Answer
    row: Row | None
    """None: the key is new."""
    token: str | None = None
    """Set where the row is mine."""


@attrs.define(eq=False, repr=False)
class Intent(Value):
    """Note: a POST is about to leave."""

    pending: Pending
    """The call, if its end is never written."""
    content: bytes | None = attrs.field(default=None, repr=False)
    """The content of what is sent, where it is not the row's."""
    run: str | None = None
    """The run that sends it; None: a single call does."""


@attrs.frozen(eq=False, repr=False)
class Response(Value):
    """Note: a POST was answered, and its call goes on."""

    at: datetime
    status: int
    body: bytes = attrs.field(repr=False)


@attrs.define(eq=False, repr=False)
class End(Value):
    """Note: a call has ended."""

    state: RowState
    response: bytes | None = attrs.field(default=None, repr=False)
    """The body of the service's response; None keeps the one that the row has."""
    result: bytes | None = attrs.field(default=None, repr=False)
    detail: bytes | None = attrs.field(default=None, repr=False)
    is_found: bool = False
    """True if what the claim asks for was found in effect before anything was sent for it. False:
    it is the end of the latest request that was sent, perhaps of another content."""


@attrs.frozen(eq=False, repr=False)
class RunRecord(Value):
    """A run in a journal: a name, and the keys that it has."""

    name: str
    operation: str
    begun_at: datetime
    last_at: datetime
    """The last time that it was opened."""
    settings: Mapping[str, str]
    """Texts that its caller keeps with it, such as its source and its options."""
    counts: Mapping[RowState, int]
    """Of the keys that it has, by their state now, whoever sent them."""


class Store(Protocol):
    """Journal of an account. All methods may be called by many tasks of one event loop at a time.

    Every method raises `JournalError` where the journal can't be used; the message says why.
    """

    account: Account | None
    """Set by `open`."""
    is_lossy: bool
    """True where commits are known to be missing, and that was accepted: whatever a claim says,
    nothing may be sent before a look-up has shown that the key had no effect."""

    async def open(self, account: Account) -> None:
        """Open it, or make it, and begin a session; a second call with the same account is none."""
        ...

    async def aclose(self) -> None:
        """End the session: what it still holds becomes free for others. Also when cancelled."""
        ...

    async def claim(self, claim: Claim) -> Claimed:
        """Claim a key; the claim is durable when this returns.

        A task that is cancelled meanwhile has no claim: it is given back, as by `release`.
        """
        ...

    async def claim_all(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim many, in one commit."""
        ...

    async def record_intent(self, token: str, intent: Intent) -> bool:
        """Write durably that a POST is about to leave; False: the claim is not mine any more."""
        ...

    def record_response(self, token: str, response: Response) -> None:
        """Write a response, together with what is written next."""
        ...

    async def record_end(self, token: str, end: End) -> bool:
        """Write durably how a call ended, and give the claim back, also when cancelled meanwhile.

        False: the claim was not mine any more, and nothing was written.
        """
        ...

    async def release(self, token: str) -> None:
        """Give a claim back: the row is as it was before it, or gone where it was new.

        A row whose POST left stays open. Also when cancelled; never raises for a lost claim.
        """
        ...

    async def find(self, operation: str, key: str) -> Claimed | None:
        """Read a row, and what a claim with `takes_rejected` would be answered; claim nothing."""
        ...

    async def find_all(self, operation: str, keys: Sequence[str]) -> dict[str, Row]:
        """Read the rows of many keys."""
        ...

    async def lookalikes(self, operation: str, folded: Sequence[str]) -> dict[str, list[str]]:
        """Read the keys whose folded form is one of these."""
        ...

    async def rows_of_identity(self, operation: str, identity: str) -> list[Row]:
        """Read the rows of one order or payment link, under whatever key."""
        ...

    async def end_open(self, row: Row, end: End) -> bool:
        """Write how a row that nobody holds was settled elsewhere (`client.resolve`, a callback).

        False: it is held, or not open any more, or not this very POST's; nothing was written.
        """
        ...

    async def take_over(
        self, limit: int, *, after: int = 0, run: str | None = None, operation: str | None = None
    ) -> list[Claimed]:
        """Claim open rows that nobody alive works on, in the order of their ids.

        Claims of dead processes that never sent anything are dropped on the way.

        Args:
            limit: The most to return.
            after: Only rows with a greater id.
            run: Only the rows of this run.
            operation: Only rows of this operation.
        """
        ...

    async def open_run(
        self, name: str, operation: str, settings: Mapping[str, str]
    ) -> RunRecord | None:
        """Begin or resume a run; return what the journal had of it before.

        Raises:
            JournalError: The name belongs to a run of another operation.
        """
        ...

    async def runs(self) -> list[RunRecord]:
        """List the runs, the latest first."""
        ...

    async def rows(
        self,
        *,
        run: str | None = None,
        operation: str | None = None,
        states: frozenset[RowState] | None = None,
        after: int = 0,
        limit: int = 500,
    ) -> list[tuple[Row, int | None]]:
        """Read a page of rows in the order of their ids, each with its line in the run's source."""
        ...

    async def unseen(self, run: str, *, after: int = 0, limit: int = 500) -> list[Row]:
        """Read a page of the run's rows that are gone from its source.

        These are the rows whose keys were not claimed for the run since `open_run`.
        """
        ...


def moment(seconds: float) -> datetime:
    """Read a time, in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
