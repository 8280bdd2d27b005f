"""The guide's web applications, served as their readers would serve them, and treated badly."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import httpx
import pytest
from commandline import PATIENCE, served, until

import chat2pay_async
from chat2pay_async.sandbox import Sandbox

GUIDE = Path(__file__).parent.parent / "docs" / "web-applications.md"
FASTAPI, AIOHTTP = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
ORDER = {"order_number": "A-1001", "phone": "27831234567", "amount": "199.90"}


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    yield from served(monkeypatch, tmp_path)


@attrs.define
class Shop:
    """An application in a process of its own."""

    url: str
    running: subprocess.Popen[bytes]

    def post(self, order: dict[str, str] = ORDER, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return httpx.post(f"{self.url}/orders", json=order, headers=headers, timeout=PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.running.send_signal(how)
        return self.running.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def shop(source: str, where: Path, *arguments: str) -> Iterator[Shop]:
    """Serve an application of the guide, by uvicorn or aiohttp."""
    port = free_port()
    (where / "shop.py").write_text(source, encoding="utf-8")
    module = ["aiohttp.web", "-H", "127.0.0.1", "-P", str(port), "shop:application"]
    if source is FASTAPI:
        module = ["uvicorn", "shop:app", "--port", str(port), *arguments]
    path = str(Path(chat2pay_async.__file__).parent.parent)
    running = subprocess.Popen(  # noqa: S603 - our own application
        [sys.executable, "-m", *module],
        cwd=where,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    one = Shop(f"http://127.0.0.1:{port}", running)
    try:
        until(lambda: is_up(port), "the application is up")
        yield one
    finally:
        with suppress(ProcessLookupError):  # it has ended, and its workers
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def is_up(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("source", [FASTAPI, AIOHTTP], ids=["fastapi", "aiohttp"])
def test_a_repeated_request_gets_the_first_link_and_another_amount_is_a_conflict(
    source: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with shop(source, tmp_path) as one:
        first, again = one.post(), one.post()
        other = one.post(ORDER | {"amount": "1.00"})
        wrong = one.post(ORDER | {"order_number": "A-2", "phone": "1"})
        second = one.post(key="A-1001, second link")
        code = one.stop()
    assert [answer.status_code for answer in (first, again, second)] == [201, 201, 201]
    assert (first.json()["replayed"], again.json()["replayed"]) == (False, True)
    assert first.json()["payment_link_ref"] == again.json()["payment_link_ref"]
    assert first.json()["payment_link_ref"] != second.json()["payment_link_ref"]
    assert (other.status_code, other.json()["error"]) == (409, "IdempotencyConflictError")
    assert (wrong.status_code, wrong.json()["error"]) == (422, "RequestValidationError")
    assert sandbox.ledger.count("link_created") == 2
    assert code in {0, -signal.SIGTERM}


def test_a_payment_is_shown_and_what_is_not_there_is_a_404(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with shop(FASTAPI, tmp_path) as one:
        ref = one.post().json()["payment_link_ref"]
        sandbox.pay(ref)
        paid = httpx.get(f"{one.url}/payments/{ref}").json()
        gone = httpx.get(f"{one.url}/payments/no-such-link")
    assert paid == {"is_paid": True, "is_authorized": False, "is_open": False}
    assert (gone.status_code, gone.json()["error"]) == (404, "NotFoundError")


def test_workers_share_a_journal_and_make_one_link_of_many_clicks(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.next_faults("create_payment_link", ["answer_late"])
    with shop(FASTAPI, tmp_path, "--workers", "2") as one, ThreadPoolExecutor(8) as clicks:
        answers = list(clicks.map(lambda _: one.post(), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["payment_link_ref"] for answer in answers}) == 1
    assert [answer.json()["replayed"] for answer in answers].count(False) == 1
    assert sandbox.ledger.count("link_created") == 1


@pytest.mark.parametrize("source", [FASTAPI, AIOHTTP], ids=["fastapi", "aiohttp"])
def test_a_browser_that_disconnects_in_the_middle_gets_that_link_when_it_asks_again(
    source: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.next_faults("create_payment_link", ["answer_late"])
    with shop(source, tmp_path) as one:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{one.url}/orders", json=ORDER, timeout=0.3)
        again = one.post()
    assert again.status_code == 201
    assert sandbox.ledger.faults["create_payment_link", "answer_late"] == 1
    assert sandbox.ledger.count("link_created") == 1


def test_a_request_in_progress_ends_before_the_application_does(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.next_faults("create_payment_link", ["answer_late"])
    answers: list[httpx.Response] = []
    with shop(FASTAPI, tmp_path) as one:
        asking = threading.Thread(target=lambda: answers.append(one.post()))
        asking.start()
        late = ("create_payment_link", "answer_late")
        until(lambda: late in sandbox.ledger.faults, "the service is asked")
        code = one.stop()
        asking.join(PATIENCE)
    assert [answer.status_code for answer in answers] == [201]
    assert code in {0, -signal.SIGTERM}
    assert sandbox.ledger.count("link_created") == 1


def in_vain(one: Shop) -> None:
    with pytest.raises(httpx.HTTPError):
        one.post()


def test_a_killed_worker_leaves_its_call_to_the_next_one(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.next_faults("create_payment_link", ["silence_after"])
    with shop(FASTAPI, tmp_path) as one:
        asking = threading.Thread(target=in_vain, args=(one,))
        asking.start()
        until(lambda: sandbox.ledger.count("link_created"), "the link is made")
        assert one.stop(signal.SIGKILL) == -signal.SIGKILL
        asking.join(PATIENCE)
    with shop(FASTAPI, tmp_path) as another:
        answer = another.post()
    assert (answer.status_code, answer.json()["replayed"]) == (201, True)
    assert sandbox.ledger.count("link_created") == 1
