"""Database of a journal: what each question and note does to its rows, in one thread.

All that changes a row that somebody works on says *where the token is still mine*.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from chat2pay_async._journal.content import digested
from chat2pay_async._journal.key_index import marks
from chat2pay_async._journal.rows import (
    CHUNK,
    COLUMNS,
    NOTHING_BEFORE,
    STATE,
    TOKEN,
    by_operation,
    chunks,
    read_row,
    read_runs,
)
from chat2pay_async._journal.sessions import Sessions
from chat2pay_async._journal.store import (
    OPEN,
    Answer,
    Claim,
    Claimed,
    End,
    Intent,
    Response,
    Row,
    RowState,
    RunRecord,
)
from chat2pay_async.errors import JournalError

__all__ = ["Database"]

_IS_OPEN: Final = "(token IS NOT NULL OR state IN ('sent', 'unknown'))"
_FINAL: Final = frozenset({RowState.APPLIED, RowState.REJECTED})
"""States of rows whose request nobody needs any more."""


class Database:
    """The rows of a journal, as one session works on them."""

    def __init__(
        self, db: sqlite3.Connection, sessions: Sessions, session: str, salt: str | None
    ) -> None:
        """Wrap a connection.

        Args:
            db: The connection.
            sessions: Know which sessions are alive.
            session: This one's name.
            salt: For the digests that replace finished requests; None: they are kept.
        """
        self.db = db
        self._sessions = sessions
        self._session = session
        self._salt = salt
        self._openings: dict[str, tuple[int, int]] = {}
        """Of the runs that were opened: their ids, and the number of this opening."""
        self._unsent: set[str] = set()
        """Tokens of rows that were made with them, and have no history yet."""

    # Claims ---------------------------------------------------------------------------------------

    def claim_all(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Answer claims, in their order."""
        found: dict[tuple[str, str], tuple[Any, ...]] = {}
        for operation, keys in by_operation(claims).items():
            for row in self._rows_of(operation, keys):
                found[operation, row[2]] = row
        self._check_opened(claims)
        answers: list[Claimed] = []
        now, seen = time.time(), set[tuple[str, str]]()
        for claim in claims:
            at = claim.operation, claim.key
            values = found.get(at) if at not in seen else self._values(*at)
            seen.add(at)
            answers.append(self._claim(claim, values, now))
        return answers

    def _claim(self, claim: Claim, values: tuple[Any, ...] | None, now: float) -> Claimed:
        if values is not None and self._is_left(values):
            self._release("id = ?", (values[0],))
            values = self._values(claim.operation, claim.key)
        if values is None:
            return self._insert(claim, now)
        row = read_row(values)
        answer = self._answer(values, takes_rejected=claim.takes_rejected)
        self._join(claim, row.id)
        if answer in {Answer.HELD, Answer.ENDED}:
            return Claimed(answer, row)
        token = secrets.token_hex(8)
        if answer is Answer.NEW:
            # Its content is another one now, but not before something is sent.
            self.db.execute(
                "UPDATE item SET token = ?, session = ?, state = 'claimed', before = ?, "
                "content_before = content, identity_before = identity, run_before = run, "
                "at_before = at, content = ?, identity = ?, "
                "folded = ?, run = ?, at = ? WHERE id = ?",
                (
                    *(token, self._session, row.state, claim.content, claim.identity, claim.folded),
                    *(claim.run, now, row.id),
                ),
            )
        else:
            self.db.execute(
                "UPDATE item SET token = ?, session = ? WHERE id = ?",
                (token, self._session, row.id),
            )
        return Claimed(answer, row, token)

    def _insert(self, claim: Claim, now: float) -> Claimed:
        token = secrets.token_hex(8)
        cursor = self.db.execute(
            "INSERT INTO item (operation, key, folded, identity, content, state, run, at, token, "
            "session) VALUES (?, ?, ?, ?, ?, 'claimed', ?, ?, ?, ?)",
            (
                *(claim.operation, claim.key, claim.folded, claim.identity, claim.content),
                *(claim.run, now, token, self._session),
            ),
        )
        self._join(claim, cursor.lastrowid or 0)
        self._unsent.add(token)
        return Claimed(Answer.NEW, None, token)

    def _answer(self, values: tuple[Any, ...], *, takes_rejected: bool) -> Answer:
        """Decide what a claim is answered."""
        token, session = values[TOKEN : TOKEN + 2]
        state = RowState(values[STATE])
        if token is not None and self._is_alive(session):
            return Answer.HELD
        if state in OPEN:
            return Answer.OPEN
        if state is RowState.APPLIED or (state is RowState.REJECTED and not takes_rejected):
            return Answer.ENDED
        return Answer.NEW

    def _is_left(self, values: tuple[Any, ...]) -> bool:
        """Tell whether a row was claimed by a dead session, and nothing was sent."""
        is_claimed = values[STATE] == RowState.CLAIMED
        return is_claimed and not self._is_alive(values[TOKEN + 1])

    def _is_alive(self, session: str) -> bool:
        return session == self._session or self._sessions.is_alive(session)

    def _join(self, claim: Claim, item: int) -> None:
        if claim.run is None:
            return
        run, opening = self._openings[claim.run]
        self.db.execute(
            "INSERT INTO run_item (run, item, line, opening) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET line = coalesce(excluded.line, line), "
            "opening = excluded.opening",
            (run, item, claim.line, opening),
        )

    def _check_opened(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if claim.run is not None and claim.run not in self._openings:
                raise JournalError(f"the run {claim.run} was not opened")

    def release(self, token: str) -> None:
        """Give a claim back."""
        self._unsent.discard(token)
        self._release("token = ?", (token,))

    def release_all(self) -> None:
        """Give back all claims of this session."""
        self._release("session = ? AND token IS NOT NULL", (self._session,))

    def _release(self, which: str, values: tuple[Any, ...]) -> None:
        gone = f"SELECT id FROM item WHERE {which} AND state = 'claimed' AND before IS NULL"  # noqa: S608 - the two above
        self.db.execute(f"DELETE FROM run_item WHERE item IN ({gone})", values)  # noqa: S608 - the same
        self.db.execute(f"DELETE FROM item WHERE id IN ({gone})", values)  # noqa: S608 - the same
        self.db.execute(
            "UPDATE item SET state = CASE state WHEN 'claimed' THEN before ELSE state END, "  # noqa: S608 - the same
            "content = coalesce(content_before, content), "
            "identity = coalesce(identity_before, identity), "
            "run = CASE state WHEN 'claimed' THEN run_before ELSE run END, "
            f"at = coalesce(at_before, at), token = NULL, session = NULL, {NOTHING_BEFORE} "
            f"WHERE {which}",
            values,
        )

    def take_over(
        self, limit: int, after: int, run: str | None, operation: str | None
    ) -> list[Claimed]:
        """Claim what is open and nobody alive works on."""
        taken: list[Claimed] = []
        while len(taken) < limit:
            page = self._open_page(after, run, operation)
            if not page:
                break
            for values in page:
                after = values[0]
                if self._is_left(values):
                    self._release("id = ?", (values[0],))
                    continue
                if self._answer(values, takes_rejected=False) is not Answer.OPEN:
                    continue
                token = secrets.token_hex(8)
                self.db.execute(
                    "UPDATE item SET token = ?, session = ? WHERE id = ?",
                    (token, self._session, values[0]),
                )
                taken.append(Claimed(Answer.OPEN, read_row(values), token))
                if len(taken) == limit:
                    break
        return taken

    def _open_page(self, after: int, run: str | None, operation: str | None) -> list[Any]:
        where, values = "", list[str]()
        if run is not None:
            where += (
                " AND id IN (SELECT item FROM run_item "
                "WHERE run = (SELECT id FROM run WHERE name = ?))"
            )
            values.append(run)
        if operation is not None:
            where += " AND operation = ?"
            values.append(operation)
        return self.db.execute(
            f"SELECT {COLUMNS} FROM item WHERE {_IS_OPEN} AND id > ?{where} "  # noqa: S608 - the two above
            f"ORDER BY id LIMIT {CHUNK}",
            (after, *values),
        ).fetchall()

    # Notes ----------------------------------------------------------------------------------------

    def record_intent(self, token: str, intent: Intent) -> bool:
        """Write that a POST is about to leave, unless the claim is not mine any more."""
        pending = intent.pending
        first, last = pending.first_attempt.started_at, pending.last_attempt.started_at
        service = pending.service_time
        if token in self._unsent:
            self._unsent.discard(token)
        else:
            self._keep_history(token)
        cursor = self.db.execute(
            "UPDATE item SET state = 'sent', content = coalesce(?, content), identity = ?, "  # noqa: S608 - a constant
            f"{NOTHING_BEFORE}, run = ?, at = ?, target = ?, body = ?, request_id = ?, "
            "first_at = ?, last_at = ?, service_at = ?, settle = ?, read_timeout = ?, "
            "resend_when_absent = ?, posts = posts + 1, response = NULL, result = NULL, "
            "detail = NULL, ended_at = NULL "
            "WHERE token = ? AND session = ?",
            (
                *(intent.content, pending.identity, intent.run, time.time()),
                *(pending.request.target, pending.request.body),
                *(pending.request_id, first.timestamp(), last.timestamp()),
                None if service is None else service.timestamp(),
                *(pending.settle, pending.read_timeout, pending.resend_when_absent),
                *(token, self._session),
            ),
        )
        return cursor.rowcount == 1

    def _keep_history(self, token: str) -> None:
        """Move what a row has of its last POST to the history: the next one takes its place."""
        self.db.execute(
            "INSERT INTO history (item, at, what, target, body) SELECT id, last_at, 'request', "
            "target, body FROM item WHERE token = ? AND session = ? AND target IS NOT NULL",
            (token, self._session),
        )
        self.db.execute(
            "INSERT INTO history (item, at, what, body) SELECT id, ended_at, 'response', response "
            "FROM item WHERE token = ? AND session = ? AND response IS NOT NULL "
            "AND ended_at IS NOT NULL",
            (token, self._session),
        )

    def record_response(self, token: str, response: Response) -> None:
        """Write a response to the history."""
        self.db.execute(
            "INSERT INTO history (item, at, what, status, body) SELECT id, ?, 'response', ?, ? "
            "FROM item WHERE token = ? AND session = ?",
            (response.at.timestamp(), response.status, response.body, token, self._session),
        )

    def record_end(self, token: str, end: End) -> bool:
        """Write how a call ended, and give the claim back, unless it is not mine any more."""
        self._unsent.discard(token)
        return self._end("token = ? AND session = ?", (token, self._session), end)

    def end_open(self, row: Row, end: End) -> bool:
        """Write how a row that nobody holds was settled, if it is still that very POST's."""
        values = self._values(row.operation, row.key)
        if values is None or self._answer(values, takes_rejected=False) is not Answer.OPEN:
            return False
        which = "id = ? AND posts = ? AND last_at = ?"  # ids of deleted rows come again
        return self._end(which, (row.id, row.posts, row.last_at), end)

    def _end(self, which: str, values: tuple[Any, ...], end: End) -> bool:
        # It is the end of what was sent, so the content has to be of that, unless it was found.
        content, identity = "content", "identity"
        if not end.is_found:
            content, identity = (f"coalesce({name}_before, {name})" for name in (content, identity))
        if self._salt is not None and end.state in _FINAL:
            self._digest(which, values, content, self._salt)
        cursor = self.db.execute(
            f"UPDATE item SET content = {content}, identity = {identity}, state = ?, "  # noqa: S608 - one of two, above
            "response = coalesce(?, response), result = ?, detail = ?, "
            f"ended_at = ?, token = NULL, session = NULL, {NOTHING_BEFORE} WHERE {which}",
            (end.state, end.response, end.result, end.detail, time.time(), *values),
        )
        return cursor.rowcount == 1

    def _digest(self, which: str, values: tuple[Any, ...], content: str, salt: str) -> None:
        """Keep no more of a finished request than what compares it."""
        query = f"SELECT id, {content} FROM item WHERE {which}"  # noqa: S608 - one of two, above
        for item, kept in self.db.execute(query, values).fetchall():
            self.db.execute(
                "UPDATE item SET content = ?, content_before = NULL, target = NULL, body = NULL "
                "WHERE id = ?",
                (digested(kept, salt), item),
            )
            self.db.execute("DELETE FROM history WHERE item = ? AND what = 'request'", (item,))

    # Questions ------------------------------------------------------------------------------------

    def find(self, operation: str, key: str) -> Claimed | None:
        """Read a row, and what a claim would be answered."""
        values = self._values(operation, key)
        if values is None:
            return None
        return Claimed(self._answer(values, takes_rejected=True), read_row(values))

    def find_all(self, operation: str, keys: Sequence[str]) -> dict[str, Row]:
        """Read the rows of many keys."""
        return {values[2]: read_row(values) for values in self._rows_of(operation, keys)}

    def lookalikes(self, operation: str, folded: Sequence[str]) -> dict[str, list[Row]]:
        """Read the rows whose folded key is one of these."""
        found: dict[str, list[Row]] = {}
        for chunk in chunks(list(dict.fromkeys(folded))):
            # A key that is its own folded form is not in the index of the others.
            for column in ("folded", "key"):
                of_others = " AND folded <> key" if column == "folded" else " AND folded = key"
                query = (
                    f"SELECT {COLUMNS}, folded FROM item WHERE operation = ? "  # noqa: S608 - columns, placeholders
                    f"AND {column} IN (VALUES {marks(len(chunk))}){of_others}"
                )
                for values in self.db.execute(query, (operation, *chunk)):
                    found.setdefault(values[-1], []).append(read_row(values))
        return found

    def rows_of_identity(self, operation: str, identity: str) -> list[Row]:
        """Read the rows of one order or payment link, under whatever key."""
        query = (
            f"SELECT {COLUMNS} FROM item WHERE operation = ? AND identity = ? "  # noqa: S608 - columns
            f"AND identity <> key UNION ALL SELECT {COLUMNS} FROM item WHERE operation = ? "
            "AND key = ? AND identity = key"
        )
        found = self.db.execute(query, (operation, identity, operation, identity))
        return [read_row(values) for values in found]

    def rows(
        self,
        run: str | None,
        operation: str | None,
        states: frozenset[RowState] | None,
        after: int,
        limit: int,
    ) -> list[tuple[Row, int | None]]:
        """Read a page of rows, each with its line in the run's source."""
        # By the column that the index begins with: else SQLite sorts all rows for each page.
        number = "item.id" if run is None else "run_item.item"
        where, values = [f"{number} > ?"], list[Any]([after])
        if operation is not None:
            where.append("item.operation = ?")
            values.append(operation)
        if states is not None:
            where.append(f"item.state IN ({', '.join('?' * len(states))})")
            values += states
        if run is None:
            source, line = "item", "NULL"
        else:
            source, line = "run_item JOIN item ON item.id = run_item.item", "run_item.line"
            where.append("run_item.run = (SELECT id FROM run WHERE name = ?)")
            values.append(run)
        query = (
            f"SELECT {COLUMNS}, {line} FROM {source} WHERE {' AND '.join(where)} "  # noqa: S608 - texts of this function
            f"ORDER BY {number} LIMIT ?"
        )
        found = self.db.execute(query, (*values, limit))
        return [(read_row(values), values[-1]) for values in found]

    def unseen(self, run: str, after: int, limit: int) -> list[Row]:
        """Read a page of the run's rows that were not claimed since it was opened."""
        number, opening = self._openings.get(run, (0, 0))
        found = self.db.execute(
            f"SELECT {COLUMNS} FROM run_item JOIN item ON item.id = run_item.item "  # noqa: S608 - columns
            "WHERE run_item.run = ? AND run_item.opening < ? AND run_item.item > ? "
            "ORDER BY run_item.item LIMIT ?",
            (number, opening, after, limit),
        )
        return [read_row(values) for values in found]

    def _values(self, operation: str, key: str) -> tuple[Any, ...] | None:
        query = f"SELECT {COLUMNS} FROM item WHERE operation = ? AND key = ?"  # noqa: S608 - columns
        found: tuple[Any, ...] | None = self.db.execute(query, (operation, key)).fetchone()
        return found

    def _rows_of(self, operation: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for chunk in chunks(keys):
            query = (
                f"SELECT {COLUMNS} FROM item WHERE operation = ? "  # noqa: S608 - columns, placeholders
                f"AND key IN (VALUES {marks(len(chunk))})"
            )
            yield from self.db.execute(query, (operation, *chunk))

    # Runs -----------------------------------------------------------------------------------------

    def open_run(self, name: str, operation: str, settings: Mapping[str, str]) -> RunRecord | None:
        """Begin or resume a run."""
        before = next(iter(self.runs(name)), None)
        now = time.time()
        if before is not None and before.operation != operation:
            raise JournalError(
                f"the run {name} is one of {before.operation}, not of {operation}. Pass another "
                "name for this run"
            )
        kept = settings if before is None else settings or before.settings
        written = msgspec.json.encode(dict(kept)).decode()
        if before is None:
            self.db.execute(
                "INSERT INTO run (name, operation, begun_at, last_at, opening, settings) "
                "VALUES (?, ?, ?, ?, 1, ?)",
                (name, operation, now, now, written),
            )
        else:
            self.db.execute(
                "UPDATE run SET last_at = ?, opening = opening + 1, settings = ? WHERE name = ?",
                (now, written, name),
            )
        query = "SELECT id, opening FROM run WHERE name = ?"
        self._openings[name] = self.db.execute(query, (name,)).fetchone()
        return before

    def runs(self, name: str | None = None) -> list[RunRecord]:
        """List the runs, the latest first."""
        return read_runs(self.db, name)

    # Care -----------------------------------------------------------------------------------------

    def prune(self, before: float) -> int:
        """Delete what ended before a time, and empty runs; return how many rows went."""
        which = (
            "SELECT id FROM item WHERE token IS NULL AND ended_at < ? "
            "AND state IN ('applied', 'rejected', 'failed')"
        )
        self.db.execute(f"DELETE FROM history WHERE item IN ({which})", (before,))  # noqa: S608 - above
        self.db.execute(f"DELETE FROM run_item WHERE item IN ({which})", (before,))  # noqa: S608 - above
        cursor = self.db.execute(f"DELETE FROM item WHERE id IN ({which})", (before,))  # noqa: S608 - above
        self.db.execute(
            "DELETE FROM run WHERE last_at < ? AND id NOT IN (SELECT run FROM run_item)", (before,)
        )
        return cursor.rowcount

    def note(self, name: str) -> str | None:
        """Read a note."""
        found = self.db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set_note(self, name: str, value: str) -> None:
        """Write a note."""
        self.db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    @property
    def commits(self) -> int:
        """The number of commits that it has."""
        (count,) = self.db.execute("SELECT commits FROM counter").fetchone()
        return int(count)

    def count_commit(self) -> int:
        """Count the commit that is about to be made."""
        query = "UPDATE counter SET commits = commits + 1 RETURNING commits"
        (count,) = self.db.execute(query).fetchall()[0]
        return int(count)

    def open_count(self) -> int:
        """Count the rows that are open."""
        query = f"SELECT count(*) FROM item WHERE {_IS_OPEN}"  # noqa: S608 - a constant
        return int(self.db.execute(query).fetchone()[0])
