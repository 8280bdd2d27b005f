"""Fuzzing of the reading of responses, guided by coverage: `nox -s fuzz`.

Whatever comes is a response, or awaited, or refused as declared; it is read the same in whatever
pieces it comes, and by httpcore; and where aiohttp too reads a response, it is the same one.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["chat2pay_async._transport.response_reader", "h11"]):
    from odd_responses import ENCODED, RESPONSES, TOKENS
    from readings import cut, read, read_by_aiohttp, read_by_httpcore

METHODS = (b"POST", b"GET", b"HEAD")
SHORT = 300
EVERY = 100_000
LOOP = asyncio.new_event_loop()
SEEN: Counter[str] = Counter()


def examine(given: bytes) -> None:
    """Examine one input: its first byte says how it is read, the next two where it is cut.

    Raises:
        AssertionError: Two readings differ.
    """
    if len(given) < len(b"!!!"):
        return
    how, first, second, data = given[0], given[1], given[2], given[3:]
    ended, method = bool(how & 1), METHODS[(how >> 1) % len(METHODS)]
    whole = read(cut(data, ()), ended=ended, method=method)
    pieces = cut(data, (first, first + second))
    assert read(pieces, ended=ended, method=method) == whole, "it depends on its pieces"
    if how & 8:  # this and the next take ten times as long as the rest
        pieces = cut(data, range(len(data)))
        assert read(pieces, ended=ended, method=method) == whole, "it depends on its pieces"
    elif how & 16:
        theirs = read_by_httpcore(pieces, ended=ended, method=method, run=LOOP.run_until_complete)
        assert theirs == whole, "httpcore reads something else"
        SEEN["by httpcore"] += 1
    third = read_by_aiohttp(data, ended=ended, method=method, loop=LOOP)
    if whole.kind == third.kind == "response":
        same = (whole.status, whole.body) == (third.status, third.body)
        assert same, "aiohttp reads something else"
    SEEN["all"] += 1
    SEEN[f"{whole.kind}; by aiohttp {third.kind}"] += 1
    if SEEN["all"] % EVERY == 0:
        print(dict(SEEN), flush=True)


def main() -> None:
    """Fuzz, beginning with the odd responses that are known."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        known = [*RESPONSES.values(), *ENCODED.values()]
        for number, odd in enumerate(odd for odd in known if len(odd.data) <= SHORT):
            asked = METHODS.index(odd.method) if odd.method in METHODS else 0
            for how in (0, 8, 16):
                first = bytes([odd.ended + 2 * asked + how, 20, 20])
                Path(corpus, f"{number}-{how}").write_bytes(first + odd.data)
        tokens = Path(folder, "tokens")
        words = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS)
        tokens.write_text("".join(f'"{word}"\n' for word in words))
        atheris.Setup([*sys.argv, str(corpus), f"-dict={tokens}", "-max_len=600"], examine)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
