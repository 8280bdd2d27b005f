"""The sandbox as a server: on real sockets, in a process of its own, and what it needs."""

from __future__ import annotations

import ast
import io
import runpy
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

import chat2pay_async.sandbox
from chat2pay_async.sandbox import PRESETS, Sandbox, SandboxError, _serve, serve_sandbox
from chat2pay_async.sandbox.__main__ import main

ROOM = Path(chat2pay_async.sandbox.__file__).parent
ORDER = (
    b'{"channel":"sms","to":"27831234567","orderNumber":"A-1","currency":"ZAR",'
    b'"timestamp":"2026-03-01T12:00:00Z","totalAmount":199.90}'
)


def client(sandbox: Sandbox) -> httpx.AsyncClient:
    headers = {"Authorization": sandbox.api_key}
    return httpx.AsyncClient(base_url=sandbox.url, headers=headers, trust_env=False)


@pytest.mark.anyio
async def test_sandbox_is_served_on_a_real_socket() -> None:
    async with serve_sandbox() as sandbox, client(sandbox) as http:
        assert sandbox.url.startswith("http://127.0.0.1:")
        response = await http.post("/api/v2/chat-2-pay", content=ORDER)
        assert response.status_code == 201
        assert len(response.headers.get_list("date")) == 1
        assert "server" not in response.headers
        ref = response.json()["paymentLinkRef"]
        sandbox.pay(ref)
        response = await http.post(f"/sandbox/links/{ref}/pay")
        assert response.status_code == 409
        response = await http.post("/api/v2/cancel/no%2Fsuch%3Fx")
        assert response.json()["errors"][0].endswith("transaction reference no/such?x")


def test_a_plain_block_serves_it_too() -> None:
    threads = set(threading.enumerate())
    with serve_sandbox() as sandbox:
        response = httpx.post(
            f"{sandbox.url}/api/v2/chat-2-pay",
            content=ORDER,
            headers={"Authorization": sandbox.api_key},
            trust_env=False,
        )
        assert response.status_code == 201
    assert not set(threading.enumerate()) - threads
    assert sandbox.ledger.count("link_created") == 1


@pytest.mark.anyio
async def test_leaving_the_block_ends_the_server() -> None:
    threads = set(threading.enumerate())
    async with serve_sandbox() as sandbox:
        assert [t.name for t in threading.enumerate() if t not in threads] == ["chat2pay-sandbox"]
    assert "chat2pay-sandbox" not in [t.name for t in threading.enumerate() if t not in threads]
    async with client(sandbox) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/api/v2/config")


@pytest.mark.anyio
async def test_a_cancelled_block_ends_the_server_too() -> None:
    with anyio.CancelScope() as scope:
        async with serve_sandbox():
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert "chat2pay-sandbox" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.anyio
async def test_state_outlives_the_server() -> None:
    mine = Sandbox("my-key")
    for order in range(2):
        async with serve_sandbox(mine) as sandbox, client(sandbox) as http:
            assert sandbox is mine
            await http.post("/api/v2/chat-2-pay", content=ORDER)
            assert mine.ledger.count("link_created") == order + 1


@pytest.mark.anyio
async def test_serving_installs_no_signal_handlers() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with serve_sandbox() as sandbox, client(sandbox) as http:
        await http.get("/api/v2/config")
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.anyio
async def test_many_calls_at_once_lose_nothing() -> None:
    async with serve_sandbox() as sandbox, client(sandbox) as http, anyio.create_task_group() as tg:
        for _ in range(50):
            tg.start_soon(lambda: http.post("/api/v2/chat-2-pay", content=ORDER))
    assert sandbox.ledger.count("link_created") == 50
    assert len(sandbox.links()) == 50


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_other_names_of_this_machine_are_accepted(host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if host == "::1":
            pytest.skip("this machine has no IPv6")
    async with serve_sandbox(host=host) as sandbox, client(sandbox) as http:
        assert (await http.get("/api/v2/config")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])  # noqa: S104
def test_other_machines_are_not_served(host: str) -> None:
    with pytest.raises(SandboxError, match="not a loopback address"):
        serve_sandbox(host=host)


@pytest.mark.anyio
async def test_a_taken_port_is_an_error() -> None:
    async with serve_sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with serve_sandbox(port=port):
                pass


@pytest.mark.anyio
async def test_a_request_that_breaks_off_has_no_effect() -> None:
    sandbox = Sandbox()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v2/chat-2-pay",
        "raw_path": b"/api/v2/chat-2-pay",
        "query_string": b"",
        "headers": [(b"authorization", b"sandbox-key")],
    }
    await sandbox.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not sandbox.ledger.requests


@pytest.mark.anyio
async def test_a_lifespan_is_passed_on() -> None:
    sent: list[Any] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message["type"])

    await Sandbox().app({"type": "lifespan", "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# In a process of its own


class Terminal(io.StringIO):
    """A standard output that sends a signal as soon as the sandbox says where it is."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        url = self.getvalue().split()[5]
        self.response = httpx.get(f"{url}/sandbox/links", trust_env=False)
        signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_a_signal(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    terminal = Terminal(number)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["--api-key", "it's k", "--forward-to", "http://localhost:9/hook"]) == 0
    url = terminal.getvalue().split()[5]
    assert url.startswith("http://127.0.0.1:")
    assert terminal.getvalue().splitlines() == [
        f"Chat 2 Pay sandbox on {url} (API key: it's k)",
        f"export CHAT2PAY_BASE_URL={url}",
        """export CHAT2PAY_API_KEY='it'"'"'s k'""",
        "A customer pays: chat2pay trigger paid ORDER",
        f"  or without it: curl -X POST {url}/sandbox/orders/ORDER/paid",
        "Callbacks go to http://localhost:9/hook",
    ]
    assert terminal.response.json() == {"links": []}
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "example.com"], "'example.com' is not an IP address"),
        (["--port", "99999"], "There is no port 99999"),
        (["--port", "x"], "invalid int value"),
    ],
)
def test_command_refuses_an_invalid_address(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "controls"),
    [
        ([], "answer this machine only; --open-controls opens them."),
        (["--open-controls"], "are open: anybody can pay, and read all that it has."),
    ],
)
def test_command_that_listens_on_every_network_says_so(
    monkeypatch: pytest.MonkeyPatch, more: list[str], controls: str
) -> None:
    terminal = Terminal(signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["--host", "0.0.0.0", *more]) == 0  # noqa: S104 - what is tested
    text = terminal.getvalue()
    assert text.startswith("Chat 2 Pay sandbox on http://127.0.0.1:")
    assert "\nWARNING: it listens on 0.0.0.0, in plain http, for whoever can reach" in text
    assert text.endswith(f"Its controls (/sandbox) {controls}\n")


def test_the_settings_of_the_command_make_its_sandbox(tmp_path: Path) -> None:
    settings = _serve.Settings(
        api_key=("a", "b"),
        environment="production",
        faults="mild",
        seed=7,
        state=tmp_path / "state.db",
        forward_to=("http://localhost:1/hook", "http://localhost:2/hook"),
        wire='{"numbers": "strings"}',
        open_controls=True,
    )
    with closing(settings.sandbox()) as sandbox:
        assert [account.api_key for account in sandbox.accounts] == ["a", "b"]
        assert (sandbox.faults, sandbox.wire_forms.numbers) == (PRESETS["mild"], "strings")
        assert sandbox.has_open_controls
        for account in sandbox.accounts:
            assert account.environment == "production"
            assert set(account.callbacks.urls.values()) == {settings.forward_to}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (_serve.Settings(api_key=("a", "a")), "an account with that API key"),
        (_serve.Settings(forward_to=("nowhere",)), "'nowhere' is not a URL"),
        (_serve.Settings(wire='{"numbers": "words"}'), "'words' is not a form of numbers"),
        (_serve.Settings(faults="wild"), "'wild' is not a preset"),
    ],
)
def test_settings_that_make_no_sandbox_leave_no_file_open(
    settings: _serve.Settings, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "state.db"
    with pytest.raises(SandboxError, match=message):
        replace(settings, state=path).sandbox()
    Sandbox(state=path).close()


def test_the_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sandbox"])
    monkeypatch.setattr(sys, "stdout", Terminal(signal.SIGTERM))
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOM / "__main__.py"), run_name="__main__")
    assert exit_.value.code == 0


def test_the_module_runs_and_stops_cleanly() -> None:
    command = [sys.executable, "-m", "chat2pay_async.sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url = process.stdout.readline().split()[5]
        response = httpx.get(
            f"{url}/api/v2/config", headers={"Authorization": "sandbox-key"}, trust_env=False
        )
        assert response.status_code == 200
        process.terminate()
        assert process.wait(timeout=30) == 0


# What it needs


def test_sandbox_imports_nothing_from_the_rest_of_the_package() -> None:
    modules: set[str] = set()
    for path in ROOM.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules.add(node.module or "")
    ours = {name for name in modules if name.startswith("chat2pay_async")}
    assert all(f"{name}.".startswith("chat2pay_async.sandbox.") for name in ours)
    foreign = {name.partition(".")[0] for name in modules - ours} - sys.stdlib_module_names
    assert foreign == {"anyio", "cattrs", "httpx", "msgspec", "starlette", "uvicorn"}


def test_sandbox_is_imported_without_its_extra() -> None:
    script = (
        "import sys; sys.modules['starlette'] = sys.modules['uvicorn'] = None\n"
        "import chat2pay_async.sandbox as s; s.Sandbox(); s.serve_sandbox()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603


@pytest.mark.anyio
async def test_missing_extra_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "chat2pay_async.sandbox._server.routes", raising=False)
        without.setitem(sys.modules, "starlette.applications", None)
        with pytest.raises(ModuleNotFoundError, match=r'pip install "chat2pay-async\[sandbox\]"'):
            _ = Sandbox().app
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ModuleNotFoundError, match="The sandbox needs uvicorn"):
        async with serve_sandbox():
            pass
