"""Fault plans: how often, the same again for a seed, in JSON, over HTTP, on the command line."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from chat2pay_async.sandbox import (
    FAULT_KINDS,
    POSTS,
    PRESETS,
    FaultKind,
    FaultPlan,
    InjectedFault,
    Sandbox,
    SandboxError,
    _serve,
)
from chat2pay_async.sandbox.__main__ import main
from chat2pay_async.sandbox._faults.lottery import Lottery, decide
from chat2pay_async.sandbox._faults.plan import TRAITS
from chat2pay_async.sandbox._faults.plan_json import (
    plan_argument,
    plan_body,
    read_plan,
    read_script,
)
from chat2pay_async.sandbox._service.service import OPERATIONS, ApiRequest

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def any_(name: str) -> Any:
    return name


def run(sandbox: Sandbox, requests: int = 200) -> dict[tuple[str, str], int]:
    for number in range(requests):
        body = (
            '{"channel":"none","to":"1","currency":"ZAR","totalAmount":1,'
            f'"timestamp":"2026-03-01T12:00:00Z","orderNumber":"A-{number}"}}'
        )
        key = sandbox.api_key
        sandbox.exchange(ApiRequest("create_payment_link", key, "/", body=body.encode()))
        query = {"orderNumber": f"A-{number}"}
        sandbox.exchange(ApiRequest("get_transaction", key, "/", query=query))
    return dict(sandbox.ledger.faults)


# How often


def test_lottery_draws_each_fault_at_its_rate() -> None:
    shares: dict[FaultKind, float] = {"drop_after": 0.1, "throttle": 0.05, "garbage": 0.3}
    faults = [InjectedFault(kind, rate) for kind, rate in shares.items()]
    lottery = Lottery(faults, Random(7))  # noqa: S311 - a seed's
    drawn = [lottery.draw("capture_payment") for _ in range(20_000)]
    counts = Counter(each and each.kind for each in drawn)
    for kind, rate in shares.items():
        assert counts[kind] / len(drawn) == pytest.approx(rate, abs=0.01)
    assert counts[None] / len(drawn) == pytest.approx(0.55, abs=0.02)


def test_a_sandbox_counts_what_it_draws() -> None:
    plan = FaultPlan((InjectedFault("drop_after", 0.2), InjectedFault("lag", 0.5)), seed=3)
    faults = run(Sandbox(faults=plan), 2_000)
    assert faults.keys() == {
        ("create_payment_link", "drop_after"),
        ("create_payment_link", "lag"),
        ("get_transaction", "drop_after"),
    }
    assert faults["create_payment_link", "drop_after"] == pytest.approx(400, abs=60)
    assert faults["get_transaction", "drop_after"] == pytest.approx(400, abs=60)
    assert faults["create_payment_link", "lag"] == pytest.approx(1000, abs=100)


def test_a_fault_happens_only_where_it_should() -> None:
    faults = InjectedFault("drop_after", operations=("capture_payment",)), InjectedFault("foreign")
    lottery = Lottery(faults, Random(7))  # noqa: S311 - a seed's
    found = {operation: lottery.draw(operation) for operation in OPERATIONS}
    assert {operation: each.kind for operation, each in found.items() if each} == {
        "capture_payment": "drop_after",
        "get_transaction": "foreign",
    }


@pytest.mark.parametrize(("rate", "happens"), [(0.0, False), (1.0, True)])
def test_rates_of_0_and_1_are_never_and_always(rate: float, happens: bool) -> None:  # noqa: FBT001
    class Extremes(Random):
        numbers = iter([0.0, 1 - 2**-53])

        def random(self) -> float:
            return next(self.numbers, 0.5)

    lottery = Lottery([InjectedFault("drop_after", rate)], Extremes())
    Extremes.numbers = iter([0.0])
    assert (lottery.draw("capture_payment") is not None) == happens
    Extremes.numbers = iter([1 - 2**-53])
    assert (lottery.draw("capture_payment") is not None) == happens


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_open_details_are_drawn_from_their_ranges(kind: FaultKind) -> None:
    random = Random(7)  # noqa: S311 - a seed's
    fault = InjectedFault(kind, seconds=(2, 3), requests=(4, 6), retry_after=(7, 9))
    drawn = [decide(fault, random) for _ in range(200)]
    assert {each.form for each in drawn} == set(TRAITS[kind].forms or [""])
    assert all(2 <= each.seconds <= 3 for each in drawn)
    assert {each.requests for each in drawn} == {4, 5, 6}
    assert {each.retry_after for each in drawn} == {7, 8, 9}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_every_kind_of_fault_but_lossy(name: str) -> None:
    plan = PRESETS[name]
    kinds = {fault.kind for fault in plan.faults}
    assert kinds == set(FAULT_KINDS) or name == "lossy"
    assert sum(f.span[1] for f in plan.faults if f.kind in {"apply_late", "lag"}) <= 6
    run(Sandbox(faults=name, seed=1), 500)


# The same again


def test_the_same_seed_brings_the_same_faults() -> None:
    def faults(seed: int | None, own: int | None = None) -> Any:
        clock = iter(START + timedelta(seconds=n) for n in range(10_000))
        plan = FaultPlan(PRESETS["harsh"].faults, seed=own)
        return run(Sandbox(clock=lambda: next(clock), seed=seed, faults=plan))

    assert faults(1) == faults(1) == faults(2, own=1)
    assert faults(1) != faults(2)
    assert faults(None) != faults(None)


def test_plan_that_is_set_again_restarts() -> None:
    sandbox = Sandbox(faults="lossy", seed=4, clock=lambda: START)
    first = run(sandbox)
    sandbox.faults = "lossy"
    assert sandbox.faults == PRESETS["lossy"]
    assert run(sandbox) == {key: 2 * count for key, count in first.items()}


def test_actions_of_customers_do_not_change_the_faults_of_requests() -> None:
    plan = FaultPlan((InjectedFault("drop_after", 0.3), InjectedFault("lag", 0.5)), seed=1)
    busy, quiet = Sandbox(faults=plan), Sandbox(faults=plan)
    for sandbox in (busy, quiet):
        run(sandbox, 1)
    busy.pay(busy.ref_of("A-0"))
    for sandbox in (busy, quiet):
        run(sandbox)
    drops = [sandbox.ledger.faulted(kind="drop_after") for sandbox in (busy, quiet)]
    assert drops[0] == drops[1] > 0


def test_end_of_a_plan_ends_its_script() -> None:
    sandbox = Sandbox(faults="lossy")
    sandbox.next_faults("get_transaction", ["throttle"])
    sandbox.next_faults("create_payment_link", ["lag"])
    sandbox.faults = None
    assert sandbox.faults is None
    assert run(sandbox) == {}


# What is no plan


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: InjectedFault(any_("drop")),
            "'drop' is not a valid kind of fault; there are drop_before, drop_after",
        ),
        (lambda: InjectedFault("lag", 1.1), "rate must be from 0 to 1, not 1.1"),
        (lambda: InjectedFault("lag", float("nan")), "rate must be from 0 to 1, not nan"),
        (
            lambda: InjectedFault("lag", seconds=(2, 1)),
            r"seconds must be a smallest and .*, not \(2, 1\)",
        ),
        (lambda: InjectedFault("storm", requests=(-1, 1)), "requests must be a smallest"),
        (lambda: InjectedFault("throttle", retry_after=(2, 1)), "retry_after must be a smallest"),
        (lambda: InjectedFault("lag", seconds=(1, float("inf"))), "seconds must be a smallest"),
        (
            lambda: InjectedFault("denied", form="404"),
            "'404' is not a valid form of denied; there are 401, 403",
        ),
        (
            lambda: InjectedFault("drip", form="x"),
            "'x' is not a valid form of drip; there are none",
        ),
        (
            lambda: InjectedFault("lag", operations=("pay",)),
            "'pay' is not a valid operation of lag",
        ),
        (
            lambda: InjectedFault("foreign", operations=("create_payment_link",)),
            "'create_payment_link' is not a valid operation of foreign; there are get_transaction",
        ),
        (
            lambda: FaultPlan(unknown_order=any_("x")),
            "'x' is not a valid response to an unknown order",
        ),
        (
            lambda: FaultPlan(
                (InjectedFault("drip", 0.6), InjectedFault("html", 0.6, operations=POSTS))
            ),
            "The rates for create_payment_link add up to 1.2: at most 1",
        ),
        (
            lambda: FaultPlan(
                (InjectedFault("lag", 0.6), InjectedFault("lag", 0.6, operations=("customer",)))
            ),
            "The rates for customer add up to 1.2: at most 1",
        ),
        (lambda: Sandbox(faults="x"), "'x' is not a preset; there are mild, harsh, lossy"),
        (lambda: Sandbox().next_faults("pay", ["lag"]), "'pay' is not an operation"),
        (
            lambda: Sandbox().next_faults("get_transaction", ["lag"]),
            "lag does not happen to get_transaction",
        ),
        (
            lambda: Sandbox().next_faults("get_transaction", [any_("x")]),
            "'x' is not a valid kind of fault",
        ),
    ],
)
def test_invalid_plan_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        make()


def test_rates_that_add_up_to_one_are_valid() -> None:
    kinds: list[FaultKind] = ["drip", "html", "garbage", "truncated", "throttle", "denied"]
    plan = FaultPlan((*(InjectedFault(kind, 1 / 6) for kind in kinds), InjectedFault("lag")))
    assert sum(run(Sandbox(faults=plan), 50).values()) >= 100


# In JSON


def test_a_plan_is_read_from_json() -> None:
    text = b"""{"preset": "mild", "seed": 7, "clock_offset": -1.5, "no_date_header": true,
        "echo_additional_data": false, "unknown_order": "null", "faults": [
        {"kind": "storm", "rate": 0.25, "operations": ["get_transaction"], "form": "bare",
         "seconds": [1, 2.5], "requests": [3, 4], "retry_after": [5, 6]}, "lag"]}"""
    assert read_plan(text) == FaultPlan(
        (
            InjectedFault(
                "storm",
                0.25,
                operations=("get_transaction",),
                form="bare",
                seconds=(1.0, 2.5),
                requests=(3, 4),
                retry_after=(5, 6),
            ),
            InjectedFault("lag"),
        ),
        seed=7,
        clock_offset=-1.5,
        no_date_header=True,
        echo_additional_data=False,
        unknown_order="null",
    )
    assert read_plan(b'{"preset": "mild"}') == read_plan(b'"mild"') == PRESETS["mild"]
    assert read_plan(b"{}") == FaultPlan()


@pytest.mark.parametrize("name", PRESETS)
def test_a_plan_is_written_as_it_is_read(name: str) -> None:
    plan = FaultPlan(PRESETS[name].faults, seed=1, clock_offset=1e-7)
    text = json.dumps(plan_body(plan), default=float).encode()
    assert read_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "This is not readable JSON"),
        ("[]", r"plan: must be an object, not \[\]"),
        ("[" * 990 + "]" * 990, "nested too deeply|plan: must be an object|not readable JSON"),
        ('"x"', "'x' is not a preset; there are mild, harsh, lossy"),
        ('{"preset": "x"}', "'x' is not a preset"),
        ('{"preset": null}', "plan.preset: must be a string, not null"),
        (
            '{"fault": [], "a": 1}',
            "plan: unknown field 'a', 'fault'; there are faults, seed, .*preset",
        ),
        ('{"seed": "1"}', 'plan.seed: must be a whole number, not "1"'),
        ('{"seed": true}', "plan.seed: must be a whole number, not true"),
        ('{"seed": 1.5}', "plan.seed: must be a whole number, not 1.5"),
        ('{"clock_offset": "1"}', 'plan.clock_offset: must be a number, not "1"'),
        ('{"clock_offset": false}', "plan.clock_offset: must be a number, not false"),
        ('{"no_date_header": 1}', "plan.no_date_header: must be true or false, not 1"),
        ('{"unknown_order": 1}', "plan.unknown_order: must be a string, not 1"),
        ('{"unknown_order": "x"}', "plan: 'x' is not a valid response to an unknown order"),
        ('{"faults": {}}', "plan.faults: must be a list, not {}"),
        ('{"faults": [1]}', r"plan.faults\[0\]: must be an object, not 1"),
        ('{"faults": [null]}', r"plan.faults\[0\]: must be an object, not null"),
        ('{"faults": ["x"]}', r"plan.faults\[0\]: 'x' is not a valid kind of fault"),
        ('{"faults": [{"rate": 1}]}', r"plan.faults\[0\].kind: is required"),
        (
            '{"faults": [{"kind": "lag", "_": 1}]}',
            r"plan.faults\[0\]: unknown field '_'; there are",
        ),
        (
            '{"faults": [{"kind": "lag", "seconds": [1]}]}',
            "seconds: must be a list of a smallest and",
        ),
        (
            '{"faults": [{"kind": "lag", "seconds": [1, ""]}]}',
            r"seconds\[1\]: must be a number, not",
        ),
        ('{"faults": [{"kind": "lag", "operations": "x"}]}', "operations: must be a list"),
        (
            '{"faults": ["lag", {"kind": "lag", "rate": 2}]}',
            r"faults\[1\]: rate must be from 0 to 1",
        ),
        ('{"seed": "1", "clock_offset": "1"}', "plan.seed: .*; plan.clock_offset: .*"),
    ],
)
def test_invalid_plan_in_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        read_plan(text.encode())


def test_a_script_is_read_from_json() -> None:
    text = b'{"operation": "x", "faults": ["lag", null, {"kind": "denied", "form": null}]}'
    assert read_script(text) == ("x", (InjectedFault("lag"), None, InjectedFault("denied")))
    with pytest.raises(SandboxError, match=r"script\.faults: is required"):
        read_script(b'{"operation": "x"}')


# Over HTTP


@pytest.mark.anyio
async def test_faults_are_controlled_over_http() -> None:
    sandbox = Sandbox(clock=lambda: START)
    transport = httpx.ASGITransport(app=sandbox.app)
    key = {"Authorization": sandbox.api_key}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/sandbox/faults")).json() == {"plan": None}
        response = await http.put("/sandbox/faults", json={"faults": [{"kind": "throttle"}]})
        assert response.status_code == 200
        assert response.json() == (await http.get("/sandbox/faults")).json()
        assert response.json()["plan"]["faults"] == [
            {
                "kind": "throttle",
                "rate": 1.0,
                "operations": [],
                "form": None,
                "seconds": None,
                "requests": [5, 20],
                "retry_after": [1, 2],
            }
        ]
        assert (await http.get("/api/v2/config", headers=key)).status_code == 429
        ledger = (await http.get("/sandbox/ledger")).json()
        assert ledger["faults"] == {"get_configuration": {"throttle": 1}}
        assert ledger["requests"] == {"get_configuration": {"429": 1}}
        assert (await http.put("/sandbox/faults", json="harsh")).status_code == 200
        assert sandbox.faults == PRESETS["harsh"]
        response = await http.put("/sandbox/faults", json="x")
        assert response.status_code == 400
        assert response.json()["message"].startswith("'x' is not a preset")
        assert (await http.delete("/sandbox/faults")).json() == {"plan": None}
        assert sandbox.faults is None


@pytest.mark.anyio
async def test_scripts_and_late_requests_are_controlled_over_http() -> None:
    sandbox = Sandbox(clock=lambda: START)
    transport = httpx.ASGITransport(app=sandbox.app)
    key = {"Authorization": sandbox.api_key}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        script: dict[str, Any] = {
            "operation": "get_configuration",
            "faults": [{"kind": "apply_late", "form": "504"}, None],
        }
        assert (await http.post("/sandbox/faults/next", json=script)).status_code == 200
        statuses = [(await http.get("/api/v2/config", headers=key)).status_code for _ in range(2)]
        assert statuses == [504, 200]
        assert (await http.post("/sandbox/apply-late")).json() == {"applied": 1}
        response = await http.post("/sandbox/faults/next", json={**script, "operation": "x"})
        assert (response.status_code, response.json()) == (
            400,
            {"message": "'x' is not an operation"},
        )
        far = httpx.ASGITransport(app=sandbox.app, client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=far, base_url="http://localhost") as stranger:
            for method, path in (("PUT", "faults"), ("POST", "faults/next"), ("GET", "faults")):
                response = await stranger.request(method, f"/sandbox/{path}")
                assert response.status_code == 403


# On the command line


def test_the_command_line_takes_a_preset_json_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"seed": 5}')
    assert plan_argument("lossy") == PRESETS["lossy"]
    assert plan_argument(' {"seed": 5}') == plan_argument(str(file)) == FaultPlan(seed=5)
    with pytest.raises(SandboxError, match=r"'x' is not a preset \(mild, harsh, lossy\), a JSON"):
        plan_argument("x")


def test_the_command_serves_with_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Sandbox] = []

    class Watched(Sandbox):
        @property
        def app(self) -> Any:
            served.append(self)
            return super().app

    class Terminal:
        def write(self, _text: str) -> None:
            pass

        def flush(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(_serve, "Sandbox", Watched)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["--faults", "mild", "--seed", "3"]) == 0
    assert main(["--seed", "3"]) == 0
    assert [sandbox.faults for sandbox in served] == [PRESETS["mild"], None]
    assert run(served[0]) == run(Sandbox(faults="mild", seed=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "x"], "'x' is not a preset"),
        (["--faults", "{"], "not readable JSON"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_command_refuses_an_invalid_plan(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
