"""The state of a sandbox in a file: what survives a restart, and which files are refused."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from chat2pay_async.sandbox import Sandbox, SandboxError
from chat2pay_async.sandbox._service.ledger import Effect
from chat2pay_async.sandbox._service.service import ApiRequest
from chat2pay_async.sandbox._service.state import StateFile

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = (
    '{"channel":"sms","to":"27831234567","orderNumber":"A-1","currency":"ZAR","totalAmount":1.5e2,'
    '"timestamp":"2026-03-01T12:00:00Z","transactionType":"authorization",'
    '"additionalData":{"half":"\\ud800"},"orderLineItems":[{"name":"Tea","unitPrice":1.50}]}'
)


def started(path: Path, **settings: object) -> Sandbox:
    return Sandbox(clock=lambda: START, state=path, seed=7, **settings)  # type: ignore[arg-type]


def call(sandbox: Sandbox, operation: str, ref: str = "", body: str = "", **query: str) -> int:
    request = ApiRequest(operation, sandbox.api_key, "/", ref, query, body.encode())
    reply = sandbox.exchange(request).reply
    assert reply is not None
    return reply.status


def look_up(sandbox: Sandbox, number: str = "A-1") -> bytes:
    request = ApiRequest("get_transaction", sandbox.api_key, "/", query={"orderNumber": number})
    reply = sandbox.exchange(request).reply
    assert reply is not None
    return reply.content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_a_change_that_can_not_be_written_whole_is_not_written_at_all(path: Path) -> None:
    with closing(StateFile(path)) as file:
        account = file.account("key")
        effect = Effect("paid", "A-1", "ref-1", Decimal("1.50"), "ZAR", START)

        def failing() -> Iterator[Effect]:
            yield effect
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            account.keep(None, failing())
        account.keep(None, [effect])
        assert [*account.effects()] == [effect]


def test_everything_that_took_place_is_there_after_a_restart(path: Path) -> None:
    with closing(started(path)) as first:
        assert call(first, "create_payment_link", body=ORDER) == 201
        ref = first.ref_of("A-1")
        first.pay(ref)
        assert call(first, "capture_payment", ref, amount="0.10") == 200
        before, effects = look_up(first), first.ledger.effects
    with closing(started(path)) as second:
        assert look_up(second) == before
        assert second.ledger.effects == effects
        assert second.ledger.total("captured", "ZAR") == first.ledger.total("captured", "ZAR") > 0
        assert call(second, "reverse_payment", ref) == 200
        numbers = [
            entry.reference for link in second._service.store for entry in link.gateway_entries
        ]
        assert len(set(numbers)) == len(numbers) == 3


def test_a_seed_makes_no_reference_twice(path: Path) -> None:
    refs = []
    for number in ("A-1", "A-2", "A-1"):
        with closing(started(path)) as sandbox:
            assert call(sandbox, "create_payment_link", body=ORDER.replace("A-1", number)) == 201
            refs.append(sandbox.ref_of(number))
            assert [link["paymentLinkRef"] for link in sandbox.links()] == refs
    assert len(set(refs)) == 3
    with closing(started(path)) as sandbox:
        assert sandbox.ref_of("A-1") == refs[2]


def test_settings_and_the_clock_are_there_after_a_restart(path: Path) -> None:
    with closing(started(path)) as first:
        first.fail_delivery("A-1")
        first.advance(3600)
        application = next(iter(first._service.integrators))
        body = f'{{"applicationUuid":"{application}","status":"DEACTIVATED"}}'
        assert call(first, "update_integration", body=body) == 200
    with closing(started(path)) as second:
        assert second.now() == START + timedelta(hours=1)
        assert call(second, "create_payment_link", body=ORDER) == 400
        assert second.ledger.count("integration_updated") == 1
        body = body.replace("DEACTIVATED", "ACTIVATED")
        assert call(second, "update_integration", body=body) == 200
        assert call(second, "create_payment_link", body=ORDER) == 201
        assert second.ledger.count("message_failed") == 1
        second.change_currencies("USD")
    with closing(started(path)) as third:
        assert call(third, "create_payment_link", body=ORDER) == 400
        assert call(third, "create_payment_link", body=ORDER.replace("ZAR", "USD")) == 201
        third.fail_delivery("27831234567")
    with closing(started(path)) as fourth:
        assert call(fourth, "create_payment_link", body=ORDER) == 400


def test_a_link_that_was_open_is_told_when_it_expires_after_a_restart(path: Path) -> None:
    with closing(started(path)) as first:
        for number in ("A-1", "A-2"):
            assert call(first, "create_payment_link", body=ORDER.replace("A-1", number)) == 201
            first.advance(200)
    with closing(started(path)) as second:  # A-1 has expired meanwhile
        second.callbacks.send_to("http://shop.example/hook")
        second.advance(100)
        assert [callback.order_number for callback in second.callbacks.made] == ["A-2"]


def test_accounts_are_kept_apart_in_the_file_too(path: Path) -> None:
    with closing(started(path)) as first:
        other = first.add_account("another-key")
        call(other, "create_payment_link", body=ORDER)
        call(first, "create_payment_link", body=ORDER)
        assert first.ref_of("A-1") != other.ref_of("A-1")
    with closing(started(path)) as first:
        assert len(first.links()) == 1
        assert len(first.add_account("another-key").links()) == 1
    assert b"another-key" not in path.read_bytes()


def test_what_was_written_outlives_a_killed_process(path: Path) -> None:
    script = f"""
import os, signal
from chat2pay_async.sandbox import Sandbox
from chat2pay_async.sandbox._service.service import ApiRequest
sandbox = Sandbox(state={str(path)!r})
body = {ORDER!r}.encode()
sandbox.exchange(ApiRequest("create_payment_link", sandbox.api_key, "/", body=body))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)  # noqa: S603 - a test's own
    with closing(Sandbox(state=path)) as sandbox:
        assert sandbox.ledger.count("link_created", order_number="A-1") == 1


def test_one_sandbox_has_a_file_at_a_time(path: Path) -> None:
    reason = r"state\.db can't be used as state: .* locked"
    with closing(started(path)), pytest.raises(SandboxError, match=reason):
        started(path)
    started(path).close()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("CREATE TABLE theirs (x)", "is another program's file, not the state of a sandbox"),
        ("PRAGMA application_id = 7", "is another program's file, not the state of a sandbox"),
        (
            "CREATE TABLE x (x); PRAGMA application_id = 1664249971; PRAGMA user_version = 99",
            r"is of another version of the sandbox \(99\)",
        ),
    ],
)
def test_another_file_is_refused_and_left_alone(path: Path, script: str, message: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    with pytest.raises(SandboxError, match=message):
        started(path)
    with closing(sqlite3.connect(path)) as db:
        assert "transactions" not in {
            name for (name,) in db.execute("SELECT name FROM sqlite_schema")
        }


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"order,amount\n" * 100)
    with pytest.raises(SandboxError, match="can't be used as state: file is not a database"):
        started(path)
    gc.collect()  # what was left open would warn


def test_a_sandbox_that_can_not_be_made_closes_its_file(path: Path) -> None:
    with pytest.raises(SandboxError, match="not a preset"):
        started(path, faults="wild")
    started(path).close()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(path: Path, *, is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()
    try:
        started(path).close()
        assert gc.isenabled() is is_enabled
    finally:
        gc.enable()
