"""Database of a journal: what each question and note does to its rows, in one thread.

All that changes a row that somebody works on says *where the token is still mine*.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from chat2pay_async._journal.content import digested
from chat2pay_async._journal.rows import (
    CHUNK,
    COLUMNS,
    NOTHING_BEFORE,
    STATE,
    STATES,
    TOKEN,
    Questions,
    by_operation,
    item_of,
    many,
    read_row,
    read_runs,
    values_of_intent,
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

__all__ = ["Database", "NotAllMineError"]

_IS_OPEN: Final = "(token IS NOT NULL OR state IN ('sent', 'unknown'))"
_FINAL: Final = frozenset({RowState.APPLIED, RowState.REJECTED})
"""States of rows whose request nobody needs any more."""
_SENT_CONTENT: Final = "coalesce(content_before, content)"


class NotAllMineError(Exception):
    """Of several claims some are another's: each has to be written alone, to tell which."""


@attrs.define(eq=False)
class _Made:
    """Rows that claims have made, and that are not written yet."""

    at: float
    secret: str
    """Part of their tokens, which no other claims have."""
    rows: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    joined: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    """Rows of their runs."""
    last: int = 0
    """The last id."""


class Database(Questions):
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
        super().__init__(db)
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
            for row in self.all_values_of(operation, keys):
                found[operation, row[2]] = row
        self._check_opened(claims)
        answers: list[Claimed] = []
        made = _Made(time.time(), secrets.token_hex(8))
        seen = set[tuple[str, str]]()
        for claim in claims:
            at = claim.operation, claim.key
            if at in seen:
                self._write(made)
            values = found.get(at) if at not in seen else self.values_of(*at)
            seen.add(at)
            answers.append(self._claim(claim, values, made))
        self._write(made)
        return answers

    def _claim(self, claim: Claim, values: tuple[Any, ...] | None, made: _Made) -> Claimed:
        if values is not None and self._is_left(values):
            self._release("id = ?", (values[0],))
            values = self.values_of(claim.operation, claim.key)
        if values is None:
            return self._make(claim, made)
        row = read_row(values)
        answer = self._answer(values, takes_rejected=claim.takes_rejected)
        self._join(claim, row.id, made)
        if answer in {Answer.HELD, Answer.ENDED}:
            return Claimed(answer, row)
        token = f"{row.id}-{made.secret}"
        if answer is Answer.NEW:
            # Its content is another one now, but not before something is sent.
            self.db.execute(
                "UPDATE item SET token = ?, session = ?, state = 'claimed', before = ?, "
                "content_before = content, identity_before = identity, run_before = run, "
                "at_before = at, content = ?, identity = ?, "
                "folded = ?, run = ?, at = ? WHERE id = ?",
                (
                    *(token, self._session, row.state, claim.content, claim.identity, claim.folded),
                    *(claim.run, made.at, row.id),
                ),
            )
        else:
            self._take("id = ?", (row.id,), token)
        return Claimed(answer, row, token)

    def _take(self, which: str, values: tuple[Any, ...], token: str) -> bool:
        query = f"UPDATE item SET token = ?, session = ? WHERE {which}"  # noqa: S608 - one of two
        return self.db.execute(query, (token, self._session, *values)).rowcount == 1

    def _make(self, claim: Claim, made: _Made) -> Claimed:
        """Make a row, which is written with the next ones."""
        if not made.rows:
            (made.last,) = self.db.execute("SELECT coalesce(max(id), 0) FROM item").fetchone()
        made.last += 1
        token = f"{made.last}-{made.secret}"
        made.rows.append(
            (
                *(made.last, claim.operation, claim.key, claim.folded, claim.identity),
                *(claim.content, claim.run, made.at, token, self._session),
            )
        )
        self._join(claim, made.last, made)
        self._unsent.add(token)
        return Claimed(Answer.NEW, None, token)

    def _join(self, claim: Claim, item: int, made: _Made) -> None:
        if claim.run is not None:
            run, opening = self._openings[claim.run]
            made.joined.append((run, item, claim.line, opening))

    def _write(self, made: _Made) -> None:
        """Write the rows that claims have made, and those of their runs."""
        for places, values in many(made.rows):
            self.db.execute(
                "INSERT INTO item (id, operation, key, folded, identity, content, state, run, at, "  # noqa: S608 - placeholders
                "token, session) SELECT column1, column2, column3, column4, column5, column6, "
                "'claimed', column7, column8, column9, column10 "
                f"FROM (VALUES {places}) WHERE column1 IS NOT NULL",
                values,
            )
        for places, values in many(made.joined):
            self.db.execute(
                "INSERT INTO run_item (run, item, line, opening) "  # noqa: S608 - the same
                f"SELECT * FROM (VALUES {places}) WHERE column1 IS NOT NULL "
                "ON CONFLICT DO UPDATE SET line = coalesce(excluded.line, line), "
                "opening = excluded.opening",
                values,
            )
        made.rows.clear()
        made.joined.clear()

    def _answer(self, values: tuple[Any, ...], *, takes_rejected: bool) -> Answer:
        """Decide what a claim is answered."""
        token, session = values[TOKEN : TOKEN + 2]
        state = STATES[values[STATE]]
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

    def _check_opened(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if claim.run is not None and claim.run not in self._openings:
                raise JournalError(f"the run {claim.run} was not opened")

    def release(self, token: str) -> None:
        """Give a claim back."""
        self._unsent.discard(token)
        self._release("id = ? AND token = ?", (item_of(token), token))

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
                token = f"{after}-{secrets.token_hex(8)}"
                self._take("id = ?", (after,), token)
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

    def record_intents(self, notes: Sequence[tuple[str, Intent]]) -> list[bool]:
        """Write which POSTs are about to leave, but those whose claim is not mine any more.

        Raises:
            NotAllMineError: Not all claims are mine, and there are several: each has to be alone.
        """
        rows: list[tuple[Any, ...]] = []
        for token, intent in notes:
            if token in self._unsent:
                self._unsent.discard(token)
            else:
                self._keep_history(token)
            rows.append(values_of_intent(token, intent))
        count = sum(
            self.db.execute(
                "UPDATE item SET state = 'sent', content = coalesce(column3, content), "  # noqa: S608 - a constant, placeholders
                f"identity = column4, {NOTHING_BEFORE}, run = column5, at = column6, "
                "target = column7, body = column8, request_id = column9, first_at = column10, "
                "last_at = column11, service_at = column12, settle = column13, "
                "read_timeout = column14, resend_when_absent = column15, posts = posts + 1, "
                "response = NULL, result = NULL, detail = NULL, ended_at = NULL "
                f"FROM (VALUES {places}) "
                "WHERE id = column1 AND token = column2 AND session = ?",
                (*values, self._session),
            ).rowcount
            for places, values in many(rows)
        )
        return _all_mine(count, rows)

    def _keep_history(self, token: str) -> None:
        """Move what a row has of its last POST to the history: the next one takes its place."""
        mine = item_of(token), token, self._session
        self.db.execute(
            "INSERT INTO history (item, at, what, target, body) SELECT id, last_at, 'request', "
            "target, body FROM item WHERE id = ? AND token = ? AND session = ? "
            "AND target IS NOT NULL",
            mine,
        )
        self.db.execute(
            "INSERT INTO history (item, at, what, body) SELECT id, ended_at, 'response', response "
            "FROM item WHERE id = ? AND token = ? AND session = ? AND response IS NOT NULL "
            "AND ended_at IS NOT NULL",
            mine,
        )

    def record_response(self, token: str, response: Response) -> None:
        """Write a response to the history."""
        self.db.execute(
            "INSERT INTO history (item, at, what, status, body) SELECT id, ?, 'response', ?, ? "
            "FROM item WHERE id = ? AND token = ? AND session = ?",
            (
                *(response.at.timestamp(), response.status, response.body),
                *(item_of(token), token, self._session),
            ),
        )

    def record_ends(self, notes: Sequence[tuple[str, End]]) -> list[bool]:
        """Write how calls ended, and give their claims back, but those that are not mine any more.

        Raises:
            NotAllMineError: Not all claims are mine, and there are several: each has to be alone.
        """
        rows: list[tuple[Any, ...]] = []
        for token, end in notes:
            self._unsent.discard(token)
            if self._salt is not None and end.state in _FINAL:
                self._digest(token, self._salt, is_found=end.is_found)
            rows.append(
                (
                    *(item_of(token), token, end.state, end.response, end.result, end.detail),
                    end.is_found,
                )
            )
        # It is the end of what was sent, so the content has to be of that, unless it was found.
        count = sum(
            self.db.execute(
                f"UPDATE item SET content = iif(column7, content, {_SENT_CONTENT}), "  # noqa: S608 - constants, placeholders
                "identity = iif(column7, identity, coalesce(identity_before, identity)), "
                "state = column3, response = coalesce(column4, response), result = column5, "
                f"detail = column6, ended_at = ?, token = NULL, session = NULL, {NOTHING_BEFORE} "
                f"FROM (VALUES {places}) WHERE id = column1 AND token = column2 AND session = ?",
                (time.time(), *values, self._session),
            ).rowcount
            for places, values in many(rows)
        )
        return _all_mine(count, rows)

    def end_open(self, row: Row, end: End) -> bool:
        """Write how a row that nobody holds was settled, if it is still that very POST's."""
        values = self.values_of(row.operation, row.key)
        if values is None or self._answer(values, takes_rejected=False) is not Answer.OPEN:
            return False
        token = f"{row.id}-{secrets.token_hex(8)}"
        which = "id = ? AND posts = ? AND last_at = ?"  # ids of deleted rows come again
        is_it = self._take(which, (row.id, row.posts, row.last_at), token)
        return is_it and self.record_ends([(token, end)])[0]

    def _digest(self, token: str, salt: str, *, is_found: bool) -> None:
        """Keep no more of a finished request than what compares it."""
        content = "content" if is_found else _SENT_CONTENT
        query = f"SELECT id, {content} FROM item WHERE id = ? AND token = ? AND session = ?"  # noqa: S608 - one of two, above
        mine = item_of(token), token, self._session
        for item, kept in self.db.execute(query, mine).fetchall():
            self.db.execute(
                "UPDATE item SET content = ?, content_before = NULL, target = NULL, body = NULL "
                "WHERE id = ?",
                (digested(kept, salt), item),
            )
            self.db.execute("DELETE FROM history WHERE item = ? AND what = 'request'", (item,))

    # Questions ------------------------------------------------------------------------------------

    def find(self, operation: str, key: str) -> Claimed | None:
        """Read a row, and what a claim would be answered."""
        values = self.values_of(operation, key)
        if values is None:
            return None
        return Claimed(self._answer(values, takes_rejected=True), read_row(values))

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


def _all_mine(count: int, rows: Sequence[object]) -> list[bool]:
    if len(rows) > 1 and count != len(rows):
        raise NotAllMineError
    return [count == 1] if len(rows) == 1 else [True] * len(rows)
