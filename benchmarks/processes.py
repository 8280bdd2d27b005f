"""The processes of a benchmark: the server, and one for each peer, each on a CPU of its own."""

from __future__ import annotations

import http.client
import json
import os
import select
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

HERE = Path(__file__).parent
CLIENT_CPU, SERVER_CPU = "--cpu=0", "--cpu=1"
START_LIMIT = 30.0
STATS_LIMIT = 10.0


@attrs.frozen
class Options:
    """Options with which a peer's process is started."""

    uvloop: bool = False
    http2: bool = False
    environment: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def flags(self) -> list[str]:
        """For the command line of `worker.py`."""
        return [CLIENT_CPU] + ["--uvloop"] * self.uvloop + ["--http2"] * self.http2

    @property
    def env(self) -> dict[str, str]:
        """The whole environment, less its proxies."""
        own = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return own | dict(self.environment)


class Server:
    """`server.py`, in a process of its own; a context manager."""

    def __init__(
        self,
        chain: Path | None = None,
        trusted: Path | None = None,
        *,
        http2: bool = False,
        delay: float = 0.0,
        more: bool = False,
    ) -> None:
        """Start it.

        Args:
            chain: Its certificate and key; None: no TLS.
            trusted: The authority that issued it.
            http2: Whether it offers HTTP/2.
            delay: Seconds until it answers, over HTTP/1.1.
            more: Whether it answers with a field that the contract does not have, over HTTP/1.1.
        """
        command = [sys.executable, str(HERE / "server.py"), SERVER_CPU, f"--delay={delay}"]
        command += [f"--tls={chain}"] * (chain is not None) + ["--http2"] * http2
        command += ["--more"] * more
        self._trusted = trusted
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._port = int(self._process.stdout.readline())
        self.url = f"http{'s' * (chain is not None)}://127.0.0.1:{self._port}"

    def trusting(self, options: Options) -> Options:
        """The same options for a client that trusts this server."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if self._trusted else ()
        return attrs.evolve(options, environment=dict.fromkeys(names, str(self._trusted)))

    def stats(self) -> dict[str, float]:
        """Ask what it has served so far."""
        if self._trusted is None:
            line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=STATS_LIMIT)
        else:
            context = ssl.create_default_context(cafile=self._trusted)
            line = http.client.HTTPSConnection(
                "127.0.0.1", self._port, timeout=STATS_LIMIT, context=context
            )
        line.request("GET", "/stats")
        told: dict[str, float] = json.loads(line.getresponse().read())
        line.close()
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Steady:
    """A peer's process, which measures rounds when it is told to; a context manager."""

    def __init__(self, name: str, url: str, options: Options) -> None:
        """Start it; `skipped` says why it can't take part, if it can't."""
        command = [sys.executable, str(HERE / "worker.py"), "steady", name, url, *options.flags]
        self._process = subprocess.Popen(  # noqa: S603 - this folder's
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=options.env
        )
        told = self._listen(START_LIMIT) or {"skipped": "it did not start"}
        self.skipped: str | None = told.get("skipped")

    def run(self, patience: float, **command: Any) -> dict[str, Any] | None:
        """Return what it measured; None if that took longer than `patience`, or it broke.

        Its next answer would then be this one's: it has to be killed.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self._listen(patience)

    def _listen(self, patience: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else ""
        told: dict[str, Any] | None = json.loads(line) if line else None
        return told

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def once(command: list[str], options: Options, patience: float) -> dict[str, Any] | None:
    """Return what a process measures that does nothing else; None if it took too long."""
    whole = [sys.executable, str(HERE / "worker.py"), *command, *options.flags]
    try:
        done = subprocess.run(  # noqa: S603 - this folder's
            whole, stdout=subprocess.PIPE, text=True, timeout=patience, check=False, env=options.env
        )
    except subprocess.TimeoutExpired:
        return None
    if not done.stdout:
        return {"skipped": f"it crashed ({done.returncode})"}
    told: dict[str, Any] = json.loads(done.stdout)
    return told


EXTRAS = (
    *("aiohttp", "click", "cyclopts", "h2", "rich", "socksio", "starlette"),
    *("trio", "uvicorn", "xlrd", "xlsxwriter"),
)
"""Modules that httpx, httpcore and our extras may use, and nobody's dependencies bring."""
IMPORT_CODE = """
import asyncio, sys, time
sys.modules.update(dict.fromkeys(sys.argv[1:]))
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""


def seconds_of_import(code: str, cache: str, *, bare: bool) -> float | None:
    """Measure how long imports take a fresh interpreter; None if it can't.

    Args:
        code: The imports.
        cache: A folder for the bytecode, whatever the environment says of writing any.
        bare: As if no extras were installed.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # -P: what is measured is what is installed or in PYTHONPATH, whatever lies in this folder.
    command = [sys.executable, "-P", "-c", IMPORT_CODE.format(code)]
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [*command, *EXTRAS[: len(EXTRAS) * bare]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env=kept | {"PYTHONPYCACHEPREFIX": cache},
    )
    return float(done.stdout) if done.returncode == 0 else None
