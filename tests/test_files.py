"""Files of requests for programs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat2pay_async import ConfigurationError, FileFaultsError, bulk, files
from chat2pay_async._client import AsyncChat2Pay
from chat2pay_async._files import source

LINKS = "Channel;Phone;Order number;Currency;Amount due\nsms;+27 83 123 4567;A-1;ZAR;199,90\n"


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_faults_of_all_rows_come_first_and_then_the_requests(tmp_path: Path) -> None:
    path = written(tmp_path, "payment_link_ref,amount\n8a,1\n8b,x\n8c,\n8d,y\n")
    with files.read_captures(path) as captures:
        (group,) = captures.faults
        assert (group.count, group.first) == (2, ((3, 0), (5, 0)))
        assert [fault.line for fault in captures.each_fault()] == [3, 5]
        with pytest.raises(FileFaultsError) as caught:
            list(captures)
        assert caught.value.faults == captures.faults
        assert isinstance(caught.value, ValueError)
        assert pickle.loads(pickle.dumps(caught.value)).faults == captures.faults  # noqa: S301
    with files.read_captures(str(path), skip_bad_rows=True) as captures:
        assert [capture.payment_link_ref for capture in captures] == ["8a", "8c"]
        assert [row.line for row in captures.rows()] == [2, 4]
        assert (captures.check.good, captures.check.bad, captures.change()) == (2, 2, "")


def test_columns_may_be_mapped_and_constants_set(tmp_path: Path) -> None:
    path = written(tmp_path, LINKS.replace("Channel;", "").replace("sms;", ""))
    with files.read_payment_links(
        path,
        mapping={"Amount due": "total_amount", "Phone": "to"},
        constants={"channel": "sms"},
    ) as links:
        (link,) = links
    assert (link.channel, link.to, str(link.total_amount)) == ("sms", "27831234567", "199.90")


@pytest.mark.parametrize(
    ("read", "header", "row"),
    [
        (files.read_references, "payment_link_ref", "8a"),
        (files.read_receipts, "payment_link_ref,receipt_link", "8a,https://shop.test/1"),
        (files.read_queries, "order_number", "A-1"),
    ],
)
def test_every_kind_of_file_is_read(
    tmp_path: Path, read: Callable[..., files.RequestFile[Any]], header: str, row: str
) -> None:
    with read(written(tmp_path, f"{header}\n{row}\n")) as found:
        assert len(list(found)) == found.check.good == 1


def test_copy_is_deleted_when_the_file_can_not_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[source.Source] = []
    really_close = source.Source.close

    def close(one: source.Source) -> None:
        closed.append(one)
        really_close(one)

    monkeypatch.setattr(source.Source, "close", close)
    with pytest.raises(ConfigurationError, match="column colour is unknown"):
        files.read_references(written(tmp_path, "payment_link_ref,colour\n8a,red\n"))
    assert len(closed) == 1


@pytest.mark.anyio
async def test_file_is_the_source_of_a_run(tmp_path: Path) -> None:
    path = written(tmp_path, LINKS.replace("Phone", "to").replace("Amount due", "total_amount"))
    async with AsyncChat2Pay("key") as client:
        with files.read_payment_links(path) as links:
            async with bulk.create_payment_links(client, links, dry_run=True) as run:
                assert [outcome async for outcome in run] == []
            assert run.forecast is not None
            assert run.forecast.to_send == 1
