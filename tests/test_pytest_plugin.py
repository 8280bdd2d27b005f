"""The pytest plugin, in the sessions of a project that has just installed the package."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import anyio
import pytest

from chat2pay_async import pytest_plugin
from chat2pay_async._pytest_sandbox import SandboxFixture
from chat2pay_async._reach import LOOPBACK_ONLY, limited_to_loopback, reach
from chat2pay_async.sandbox import Sandbox, serve_sandbox

pytest_plugins = ["pytester"]

CALL = """
import os, subprocess, sys
import anyio
import pytest
from chat2pay_async import AsyncChat2Pay, ConfigurationError, RetryPolicy

async def call():
    # Nothing listens at this address of a network that is for documents.
    once = {"timeout": 0.01, "retry": RetryPolicy(max_attempts=1)}
    async with AsyncChat2Pay("key", base_url="https://192.0.2.1", **once) as client:
        await client.get_configuration()

def refused(work=lambda: anyio.run(call)):
    try:
        work()
    except ConfigurationError as error:
        assert "tests reach this machine alone" in str(error)
        return True
    except Exception as error:
        assert type(error).__module__ == "chat2pay_async.errors", error
        return False

"""
INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
OPTIONS = ("-p", "no:randomly", "-p", "no:cacheprovider")


async def used(sandbox: Sandbox) -> None:
    """Use what is imported where it is first used."""
    async with SandboxFixture(sandbox).client() as client:
        await client.get_configuration()


@pytest.fixture(scope="module", autouse=True)
def imported_before() -> None:
    """Import all of it here: a session in this process forgets what it has imported itself."""
    with serve_sandbox() as sandbox:
        anyio.run(used, sandbox)
        anyio.run(used, sandbox, backend="trio")


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """Run a test file under the plugin, in this process."""
    pytester.makepyfile(CALL + source)
    pytester.makeini(INI)
    return pytester.runpytest_inprocess(*OPTIONS, *options)


def test_a_test_reaches_this_machine_alone_unless_it_is_marked(pytester: pytest.Pytester) -> None:
    source = """
ON_IMPORT = refused()

def test_on_import():
    assert ON_IMPORT

def test_plain():
    assert refused()

@pytest.mark.chat2pay_live
def test_live():
    assert not refused()

def test_after_a_live_one():
    assert refused()

@pytest.mark.chat2pay_live
class TestAll:
    def test_one(self):
        assert not refused()

def test_without_an_environment(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    assert refused()
"""
    run(pytester, source, "--strict-markers").assert_outcomes(passed=6)


def test_an_option_lets_all_tests_reach_every_host(pytester: pytest.Pytester) -> None:
    source = "ON_IMPORT = refused()\ndef test_it():\n    assert not ON_IMPORT\n"
    source += "    assert not refused()\n"
    run(pytester, source, "--chat2pay-live").assert_outcomes(passed=1)
    run(pytester, source).assert_outcomes(failed=1)


SHARED = """
@pytest.fixture(scope="session")
def shared():
    yield refused()
    assert refused()

def test_one(shared):
    assert shared

@pytest.mark.parametrize("number", range(3))
def test_more(shared, number):
    assert shared and refused()
"""


def test_fixtures_of_a_session_are_limited_too(pytester: pytest.Pytester) -> None:
    run(pytester, SHARED).assert_outcomes(passed=4)


STARTED = f"""
PROGRAM = "from test_it import refused; print(refused())"

def started():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.strip()

def test_limited():
    assert started() == "True"

@pytest.mark.chat2pay_live
def test_live():
    assert started() == "False"
    assert "{LOOPBACK_ONLY}" not in os.environ
"""


def test_processes_that_a_test_starts_are_limited_as_it_is(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(test_it=CALL + STARTED)
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=2)


def test_workers_of_xdist_are_limited(pytester: pytest.Pytester) -> None:
    source = "def test_limited():\n    assert refused()\n"
    source += "@pytest.mark.chat2pay_live\ndef test_live():\n    assert not refused()\n"
    run(pytester, source, "-n", "1").assert_outcomes(passed=2)
    source = "def test_live():\n    assert not refused()\n"
    run(pytester, source, "-n", "1", "--chat2pay-live").assert_outcomes(passed=1)


@pytest.mark.parametrize("limited", [True, False])
def test_when_pytest_ends_all_is_as_it_was(pytester: pytest.Pytester, limited: object) -> None:
    with limited_to_loopback(limited=bool(limited)):
        before = (reach.is_loopback_only, os.environ.get(LOOPBACK_ONLY))
        for options in ((), ("--chat2pay-live",)):
            run(pytester, "def test_it():\n    assert 0\n", *options).assert_outcomes(failed=1)
            assert (reach.is_loopback_only, os.environ.get(LOOPBACK_ONLY)) == before


def test_the_marker_and_the_option_say_that_money_may_move(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    markers = pytester.runpytest_inprocess(*OPTIONS, "--markers")
    markers.stdout.fnmatch_lines("@pytest.mark.chat2pay_live: *it may move money")
    options = pytester.runpytest_inprocess(*OPTIONS, "--help")
    options.stdout.fnmatch_lines("*--chat2pay-live*")
    fixtures = pytester.runpytest_inprocess(*OPTIONS, "--fixtures")
    fixtures.stdout.fnmatch_lines("chat2pay_sandbox*")


MARKED = """
@pytest.mark.{mark}
async def test_it(chat2pay_sandbox):
    await pays(chat2pay_sandbox)
"""
PLAIN = """
def test_it(chat2pay_sandbox):
    anyio.run(pays, chat2pay_sandbox)
"""
UNITTEST = """
import unittest

class Test(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def served(self, chat2pay_sandbox):
        self.sandbox = chat2pay_sandbox

    async def test_it(self):
        await pays(self.sandbox)
"""
STYLES = {
    "plain": (PLAIN, 1),
    "pytest-asyncio": (MARKED.format(mark="asyncio"), 1),
    "anyio on both loops": (MARKED.format(mark="anyio"), 2),
    "pytest-trio": (MARKED.format(mark="trio"), 1),
    "unittest": (UNITTEST, 1),
}
PAYS = """
async def pays(sandbox):
    sandbox.faults(create_payment_link=["drop_after"])
    async with sandbox.client() as client:
        link = await client.create_payment_link(
            channel="sms", to="27831234567", order_number="A-1", currency="ZAR", total_amount="1.00"
        )
        assert link.recovered
        sandbox.customer.pays(link.payment_link_ref)
        transaction = await client.wait_for_payment(link.payment_link_ref)
    assert transaction.is_paid
    assert sandbox.ledger.faulted("create_payment_link", "drop_after") == 1
    assert (sandbox.ledger.count("link_created"), sandbox.ledger.count("paid")) == (1, 1)

"""


@pytest.mark.parametrize("style", STYLES)
def test_one_fixture_serves_tests_of_every_style(pytester: pytest.Pytester, style: str) -> None:
    source, count = STYLES[style]
    options = ("-p", "pytest_trio") if style == "pytest-trio" else ()
    run(pytester, PAYS + source, *options).assert_outcomes(passed=count)


def test_when_pytest_ends_the_servers_of_its_tests_have_ended(pytester: pytest.Pytester) -> None:
    source = "def test_it(chat2pay_sandbox):\n    with open('url', 'w') as file:\n"
    source += "        file.write(chat2pay_sandbox.url)\n"
    run(pytester, source).assert_outcomes(passed=1)
    host, port = (pytester.path / "url").read_text("utf-8").removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_without_the_extra_the_fixture_says_what_to_install(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == "starlette"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "chat2pay_async.sandbox._server.routes")
    result = run(pytester, "def test_it(chat2pay_sandbox):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines('*pip install "chat2pay-async?sandbox?"')


# Its start ----------------------------------------------------------------------------------------

LIGHT = """
import sys
import pytest
before = set(sys.modules)
import chat2pay_async.pytest_plugin
print(sorted(set(sys.modules) - before))
"""


def test_the_start_of_pytest_imports_nothing_heavy() -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60
    )
    imported = ["chat2pay_async", "chat2pay_async._reach", "chat2pay_async.pytest_plugin"]
    assert done.stdout.strip() == str(imported)


def test_the_class_of_the_fixture_is_found_when_it_is_asked_for() -> None:
    door: Any = pytest_plugin
    assert door.SandboxFixture.__module__ == "chat2pay_async._pytest_sandbox"
    with pytest.raises(AttributeError, match="has no attribute 'SandboxFixtures'"):
        _ = door.SandboxFixtures
