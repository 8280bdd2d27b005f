"""Campaigns through what really stands between: the sandbox's ledger is the judge.

The faults are counted, so that a test whose faults never came would fail.
"""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import between
import churn
import httpx
import pytest
import trustme
from anyio.from_thread import start_blocking_portal
from between import FRONTS, Interceptor, Program, squid, started, why_not
from commandline import until

from chat2pay_async import (
    AsyncChat2Pay,
    Chat2PayError,
    Event,
    PaymentLinkRequest,
    Proof,
    RateLimit,
    RetryPolicy,
    Timeout,
    TransportError,
    bulk,
    http_client_for,
)
from chat2pay_async.events import AttemptFinished
from chat2pay_async.sandbox import FaultPlan, InjectedFault, Sandbox, serve_sandbox

WAYS = [("fast", "uvloop"), ("default", "trio")]
ROOT = Path(__file__).parent.parent
PRISM = "@stoplight/prism-cli@5"
CHANNELS, TYPES = 3, 27
"""Times that the published contract says it otherwise than it is meant."""
LINKS = 240
CONCURRENCY = 16
SLOW = InjectedFault("answer_late", 0.1, operations=("create_payment_link",), seconds=(2.5, 3.0))
"""Applied at once, and answered when the front, which waits for a second, has said 504."""


@attrs.define
class Figures:
    """The results of a campaign, by its outcomes and by the ledger."""

    links: int = 0
    states: Counter[str] = attrs.field(factory=Counter)
    recovered: int = 0
    twice: int = 0
    lost: int = 0
    """Reported applied, and not in the ledger."""
    wrong: int = 0
    """Reported not applied, and in the ledger; or under another's reference."""
    statuses: Counter[int | None] = attrs.field(factory=Counter)
    """Of every attempt."""
    errors: Counter[str | None] = attrs.field(factory=Counter)

    def add(self, outcome: bulk.Outcome[Any, Any], sandbox: Sandbox) -> None:
        applied = sandbox.ledger.count("link_created", order_number=outcome.key)
        self.links += 1
        self.states[outcome.state.name] += 1
        self.recovered += outcome.recovered
        self.twice += applied > 1
        if outcome.state is bulk.State.APPLIED:
            self.lost += not applied
            ref = getattr(outcome.result, "payment_link_ref", None)
            self.wrong += applied > 0 and ref != sandbox.ref_of(outcome.key)
        elif outcome.state is not bulk.State.UNKNOWN:
            self.wrong += applied > 0
        for attempt in outcome.attempts:
            self.statuses[attempt.status_code] += 1
            self.errors[attempt.error] += attempt.error is not None


def request_for(number: int) -> PaymentLinkRequest:
    return PaymentLinkRequest(
        channel="sms",
        to=f"2700{number:07}",
        order_number=f"A-{number}",
        currency="ZAR",
        total_amount="10.00",
    )


async def campaign(  # noqa: PLR0913 - what it goes through, and what is done to that
    sandbox: Sandbox,
    url: str,
    kind: str,
    *,
    links: int = LINKS,
    proxy: str | None = None,
    rate: float | None = None,
    acts: Mapping[int, Callable[[threading.Event], object]] | None = None,
) -> Figures:
    """Create links; after so many of them, something is done to what stands between."""
    figures, noticed = Figures(), threading.Event()

    def notice(event: Event) -> None:
        if isinstance(event, AttemptFinished) and event.attempt.error is not None:
            noticed.set()

    client = AsyncChat2Pay(
        sandbox.api_key,
        base_url=url,
        transport="fast" if kind == "fast" else None,
        proxy=proxy,
        rate_limit=None if rate is None else RateLimit(rate),
        retry=RetryPolicy(settle=2.0, initial=0.05, max_attempts=8),
        timeout=Timeout(connect=10, read=4, write=10),  # an absent link may come for so long
        hooks=[notice],
    )
    requests = map(request_for, range(links))
    async with (
        client,
        anyio.create_task_group() as tasks,
        bulk.create_payment_links(client, requests, concurrency=CONCURRENCY) as run,
    ):
        async for outcome in run:
            figures.add(outcome, sandbox)
            if acts is not None and (act := acts.get(figures.links)) is not None:
                tasks.start_soon(anyio.to_thread.run_sync, act, noticed)
    print(url, proxy, kind, figures)
    return figures


def run_on(loop: str, work: Callable[[], Any]) -> Any:
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    return anyio.run(work, backend="trio" if loop == "trio" else "asyncio", backend_options=options)


def run_campaign(loop: str, work: Callable[[], Any]) -> Figures:
    figures: Figures = run_on(loop, work)
    assert (figures.twice, figures.lost, figures.wrong) == (0, 0, 0)
    return figures


@contextlib.contextmanager
def served(*faults: InjectedFault, seed: int = 7) -> Iterator[tuple[Sandbox, int]]:
    """A sandbox, and its port, from any loop."""
    with start_blocking_portal() as portal:
        sandbox = Sandbox(faults=FaultPlan(faults, seed=seed))
        with portal.wrap_async_context_manager(serve_sandbox(sandbox)):
            yield sandbox, int(sandbox.url.rpartition(":")[2])


def local(program: Program, scheme: str = "http", user: str = "") -> str:
    return f"{scheme}://{user}127.0.0.1:{program.port}"


def needs(*programs: str) -> pytest.MarkDecorator:
    reason = why_not(*programs)
    return pytest.mark.skipif(bool(reason), reason=reason or "it is there")


@pytest.mark.parametrize(
    ("is_ci", "reason"), [("1", ""), ("", "nothing-of-this-name is not installed")]
)
def test_a_server_that_is_missing_is_a_reason_to_skip_only_outside_ci(
    is_ci: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT2PAY_CI", is_ci)
    assert why_not("nothing-of-this-name", "sh") == reason


# In front of the service --------------------------------------------------------------------------

fronts = [pytest.param(name, marks=needs(name)) for name in FRONTS]


@pytest.mark.parametrize(("kind", "loop"), WAYS)
@pytest.mark.parametrize("name", fronts)
def test_a_front_that_gives_up_is_reloaded_and_restarted_costs_nothing(
    name: str, kind: str, loop: str, seed: int
) -> None:
    front = FRONTS[name]
    with (
        served(SLOW, seed=seed) as (sandbox, port),
        started(front.before(port, kept="short")) as program,
    ):
        acts = {60: program.reload, 150: program.restart, 200: program.reload}
        work = functools.partial(campaign, sandbox, local(program), kind, rate=80, acts=acts)
        figures = run_campaign(loop, work)
        assert front.reloads_of(program) == 2
        assert program.starts == 2
    assert figures.links == LINKS
    assert sandbox.ledger.faulted("create_payment_link", "answer_late") >= 5
    assert min(figures.statuses[504], figures.recovered) >= 5
    assert figures.errors.total() > 0, "the restart was noticed"
    assert figures.states["APPLIED"] + figures.states["UNKNOWN"] == LINKS


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(name)) for name in FRONTS if FRONTS[name].limit]
)
def test_a_front_that_limits_the_rate_slows_a_campaign_down(name: str) -> None:
    front = FRONTS[name]
    with (
        served() as (sandbox, port),
        started(front.before(port, kept="long", limited=True)) as program,
    ):
        work = functools.partial(campaign, sandbox, local(program), "default", links=120)
        figures = run_campaign("asyncio", work)
    assert figures.statuses[429] >= 3
    assert figures.states == {"APPLIED": 120}


# Proxies ------------------------------------------------------------------------------------------


@attrs.frozen
class Secure:
    """A sandbox behind TLS, and its server's authority, which nobody trusts so far."""

    sandbox: Sandbox
    url: str
    authority: trustme.CA


@contextlib.contextmanager
def secured() -> Iterator[Secure]:
    """Put nginx with TLS in front of a sandbox."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    with served() as (sandbox, port), leaf.private_key_and_cert_chain_pem.tempfile() as pem:
        front = FRONTS["nginx"].before(port, kept="long", certificate=Path(pem))
        with started(front) as program:
            yield Secure(sandbox, f"https://localhost:{program.port}", authority)


@contextlib.contextmanager
def trusted(authority: trustme.CA) -> Iterator[None]:
    """Trust an authority, by the environment."""
    with authority.cert_pem.tempfile() as pem, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", pem)
        yield


async def refused(secure: Secure, kind: str, proxy: str) -> None:
    """See that a link is certainly not sent."""
    client = AsyncChat2Pay(
        secure.sandbox.api_key,
        base_url=secure.url,
        proxy=proxy,
        transport="fast" if kind == "fast" else None,
        retry=RetryPolicy(max_attempts=1),
    )
    before = len(secure.sandbox.ledger)
    async with client:
        with pytest.raises(TransportError) as caught:
            await client.create_payment_link(request_for(0))
    assert caught.value.attempts[-1].proof is Proof.NOT_SENT
    assert len(secure.sandbox.ledger) == before


ways = pytest.mark.parametrize(("kind", "loop"), WAYS)


def through(
    program: Program, proxy: str, kind: str, loop: str, secure: Secure | None = None
) -> Figures:
    """Make a campaign through a proxy, which is restarted in the middle."""
    acts = {LINKS // 2: program.restart}
    if secure is not None:
        work = functools.partial(
            campaign, secure.sandbox, secure.url, kind, proxy=proxy, rate=80, acts=acts
        )
        figures = run_campaign(loop, work)
    else:
        with served() as (sandbox, _):
            work = functools.partial(
                campaign, sandbox, sandbox.url, kind, proxy=proxy, rate=80, acts=acts
            )
            figures = run_campaign(loop, work)
    assert program.starts == 2
    assert figures.errors.total() > 0, "the restart was noticed"
    assert figures.links == figures.states["APPLIED"] + figures.states["UNKNOWN"] == LINKS
    return figures


@needs("squid")
@ways
def test_a_campaign_goes_through_squid_which_is_restarted(kind: str, loop: str) -> None:
    with started(squid(password=False)) as program:
        through(program, local(program), kind, loop)
        assert program.log().count(" POST ") >= LINKS / 2


@needs("squid", "nginx")
@ways
def test_a_campaign_goes_through_a_tunnel_of_squids_with_a_password(kind: str, loop: str) -> None:
    with secured() as secure, trusted(secure.authority), started(squid(password=True)) as program:
        through(program, local(program, user="shop:pass%20word@"), kind, loop, secure)
        proxy = local(program, user="shop:wrong@")
        run_on(loop, functools.partial(refused, secure, kind, proxy))
        # It writes down the tunnels that were not killed with it, and a moment after they ended.
        for line in ("TCP_TUNNEL/200", "TCP_DENIED/407"):
            until(functools.partial(has_written, program, line), f"{line} in squid's log")


def has_written(program: Program, line: str) -> bool:
    return line in program.log()


@needs("microsocks")
@ways
@pytest.mark.parametrize("password", ["", "shop:pass%20word@"], ids=["", "password"])
def test_a_campaign_goes_through_a_socks_proxy_which_is_restarted(
    password: str, kind: str, loop: str
) -> None:
    with started(between.socks(password=bool(password))) as program:
        through(program, local(program, "socks5", password), kind, loop)


@needs("nginx")
@ways
def test_a_proxy_that_reads_what_is_encrypted_costs_nothing_where_it_is_trusted(
    kind: str, loop: str
) -> None:
    authority = trustme.CA()
    here, there = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context())
    authority.issue_cert("localhost").configure_cert(here)
    with secured() as secure, start_blocking_portal() as portal:
        secure.authority.configure_trust(there)
        interceptor = Interceptor(here, there)
        listening = churn.listening(interceptor.serve)
        with portal.wrap_async_context_manager(listening) as port:
            proxy = f"http://127.0.0.1:{port}"
            with trusted(secure.authority):
                run_on(loop, functools.partial(refused, secure, kind, proxy))
            assert (interceptor.tunnels, interceptor.posts) == (1, 0)
            with trusted(authority):
                work = functools.partial(campaign, secure.sandbox, secure.url, kind, proxy=proxy)
                figures = run_campaign(loop, work)
    assert figures.states == {"APPLIED": LINKS}
    assert interceptor.posts == LINKS


# In the service's place ---------------------------------------------------------------------------


def mended_contract(folder: Path) -> Path:
    """Write the contract as it is meant: what it calls a channel, and that responses are JSON."""
    text = (ROOT / "data" / "chat2pay-v2.openapi.json").read_text("utf-8")
    text, channels = re.subn(r"ChannelType\.(\w+)\([^)]*\)", lambda found: found[1].lower(), text)
    text, types = re.subn(r'"\*/\*"', '"application/json"', text)
    assert (channels, types) == (CHANNELS, TYPES)
    file = folder / "contract.json"
    file.write_text(text, "utf-8")
    return file


async def call_all(url: str) -> list[tuple[str, int, str]]:
    """Make the eight calls; return what was answered to each request."""
    seen: list[tuple[str, int, str]] = []

    async def note(response: httpx.Response) -> None:
        path = f"{response.request.method} {response.request.url.path}"
        seen.append((path, response.status_code, response.headers.get("sl-violations", "")))

    async with (
        http_client_for(url, event_hooks={"response": [note]}) as http_client,
        AsyncChat2Pay(
            "key",
            base_url=url,
            http_client=http_client,
            retry=RetryPolicy(settle=0.01, initial=0.01, max_attempts=1),
            timeout=Timeout(read=3.0),
        ) as client,
    ):
        for call in (
            client.create_payment_link(request_for(0)),
            client.get_transaction(order_number="A-0"),
            client.capture_payment("ref-1", amount="5.00"),
            client.reverse_payment("ref-1"),
            client.cancel_payment_link("ref-1"),
            client.create_receipt("ref-1", "https://receipts.example/1"),
            client.get_configuration(),
            client.update_integration("app-1", "DEACTIVATED"),
        ):
            # What Prism makes up need not prove anything: an example is of another order.
            with contextlib.suppress(Chat2PayError):
                await call
    return seen


def installed(folder: Path) -> str:
    """Let npm install Prism; return why it can't be tried, if so.

    A registry that is out of reach says nothing about the package.
    """
    if reason := why_not("npm"):
        return reason
    words = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    words += ["--prefix", str(folder), PRISM]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode == 0:
        return ""
    return f"npm could not install Prism: {done.stderr[-200:]}"


def test_prism_takes_every_request(tmp_path: Path) -> None:
    if reason := installed(tmp_path):
        pytest.skip(reason)
    contract = mended_contract(tmp_path)
    for how in ((), ("--dynamic",)):
        make = functools.partial(between.prism, contract=contract, tree=tmp_path, how=how)
        with started(make) as program:
            seen = anyio.run(call_all, local(program))
        assert [one for one in seen if one[1] not in {200, 201} or '"request"' in one[2]] == []
        assert len({path for path, _, _ in seen}) == 8
