"""Servers and proxies that really stand between a client and the service.

They are as Debian has them; each runs for a block.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import anyio.abc
import attrs
import churn
from anyio.streams.tls import TLSStream

__all__ = ["FRONTS", "Interceptor", "Program", "prism", "socks", "squid", "started", "why_not"]

START = 30.0
"""Seconds that a program may take to listen."""
GRACE = 10.0
KEPT = {"long": 75, "short": 1}
"""Seconds that a connection may be idle: the usual, and so few that it ends in a campaign."""
SBIN = "/usr/sbin"
"""The folder in which Debian has servers; it is not on everybody's PATH."""


def where(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:{SBIN}")


def why_not(*programs: str) -> str:
    """Say why a test can't run; empty where it can, and in CI, which installs them all."""
    missing = [program for program in programs if where(program) is None]
    if not missing or os.environ.get("CHAT2PAY_CI"):
        return ""
    return f"{', '.join(missing)} is not installed"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@attrs.define
class Program:
    """A program that listens on a port, and can be started again."""

    words: Sequence[str]
    port: int
    folder: Path
    stops_by: signal.Signals = signal.SIGTERM
    reloads_by: signal.Signals = signal.SIGHUP
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.starts += 1
        with Path(self.folder, "output").open("ab") as output:
            program = where(self.words[0]) or self.words[0]
            self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
                [program, *self.words[1:]],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        end = time.monotonic() + START
        while not self._listens():
            with contextlib.suppress(subprocess.TimeoutExpired):  # it should not end
                self._process.wait(0.02)
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.words[0]} did not start:\n{self.log()}")

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stop it at once: what it carries ends with it, and so do its children."""
        if self._process is None:
            return
        self._process.send_signal(self.stops_by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self, noticed: threading.Event) -> None:
        """Stop it, and start it again once somebody noticed that nothing listens."""
        self.stop()
        noticed.clear()
        assert noticed.wait(START), "nobody noticed that it was down"
        self.start()

    def reload(self, _noticed: threading.Event) -> None:
        """Let it read its configuration again, while it works."""
        assert self._process is not None
        self._process.send_signal(self.reloads_by)

    def log(self) -> str:
        """All that it has written."""
        files = [path for path in sorted(self.folder.iterdir()) if path.is_file()]
        return "\n".join(path.read_text("utf-8", "replace") for path in files)


@contextlib.contextmanager
def started(make: Callable[[Path], Program]) -> Iterator[Program]:
    """Start a program in a folder of its own, which servers that give up root can write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        program = make(folder)
        try:
            program.start()
            yield program
        finally:
            program.stop()


# In front of the service --------------------------------------------------------------------------


@attrs.frozen
class Front:
    """A server in front of the service: it answers 504 after a second, and 429 above a rate."""

    program: str
    words: Sequence[str]
    configuration: str
    limit: str
    """The lines that limit the rate to 10 requests a second: less than a campaign begins with."""
    reloaded: str
    """Pattern of what it writes when it was reloaded."""
    reloads_by: signal.Signals = signal.SIGHUP
    tls: str = ""

    def before(
        self, service: int, *, kept: str, limited: bool = False, certificate: Path | None = None
    ) -> Callable[[Path], Program]:
        """Make it stand before the service on a port."""

        def make(folder: Path) -> Program:
            port = free_port()
            text = self.configuration
            for name, value in {
                "FOLDER": str(folder),
                "LISTEN": str(port),
                "SERVICE": str(service),
                "KEPT": str(KEPT[kept]),
                "LIMIT": self.limit if limited else "",
                "USER": "user root;" if os.geteuid() == 0 else "",
                "TLS": "" if certificate is None else self.tls.replace("PEM", str(certificate)),
            }.items():
                text = text.replace(name, value)
            file = Path(folder, "configuration")
            file.write_text(text)
            words = [word.replace("FILE", str(file)) for word in self.words]
            return Program(words, port, folder, reloads_by=self.reloads_by)

        return make

    def reloads_of(self, program: Program) -> int:
        """Count the times that it was reloaded."""
        return len(re.findall(self.reloaded, program.log()))


NGINX = """
USER
daemon off;
pid FOLDER/pid;
error_log FOLDER/error notice;
worker_processes 2;
events { worker_connections 512; }
http {
  access_log FOLDER/access;
  client_body_temp_path FOLDER;
  proxy_temp_path FOLDER;
  fastcgi_temp_path FOLDER;
  uwsgi_temp_path FOLDER;
  scgi_temp_path FOLDER;
  limit_req_zone $server_port zone=all:1m rate=10r/s;
  upstream service { server 127.0.0.1:SERVICE; keepalive 16; }
  server {
    listen 127.0.0.1:LISTEN TLS;
    keepalive_timeout KEPTs;
    keepalive_requests 30;
    LIMIT
    location / {
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 1s;
    }
  }
}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout http-keep-alive KEPTs
  timeout server 1s
frontend all
  bind 127.0.0.1:LISTEN
  stick-table type ip size 100 expire 10s store http_req_rate(1s)
  LIMIT
  default_backend service
backend service
  server one 127.0.0.1:SERVICE
"""
LIGHTTPD = """
server.modules = ("mod_proxy")
server.document-root = "FOLDER"
server.bind = "127.0.0.1"
server.port = LISTEN
server.errorlog = "FOLDER/error"
server.max-keep-alive-requests = 30
server.max-keep-alive-idle = KEPT
proxy.server = ("" => (("host" => "127.0.0.1", "port" => SERVICE, "read-timeout" => 1)))
"""
FRONTS = {
    "nginx": Front(
        "nginx",
        ("nginx", "-c", "FILE"),
        NGINX,
        "limit_req zone=all burst=5 nodelay; limit_req_status 429;",
        r"SIGHUP.*reconfiguring",
        tls="ssl; ssl_certificate PEM; ssl_certificate_key PEM",
    ),
    "haproxy": Front(
        "haproxy",
        ("haproxy", "-W", "-db", "-f", "FILE"),
        HAPROXY,
        "http-request track-sc0 src\n"
        "  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 10 }",
        r"Reloading HAProxy",
        reloads_by=signal.SIGUSR2,
    ),
    "lighttpd": Front(
        "lighttpd",
        ("lighttpd", "-D", "-f", "FILE"),
        LIGHTTPD,
        "",
        r"graceful shutdown",
        reloads_by=signal.SIGUSR1,
    ),
}


# Proxies ------------------------------------------------------------------------------------------


SQUID = """
http_port 127.0.0.1:LISTEN
pid_filename FOLDER/pid
cache_log FOLDER/cache
access_log stdio:FOLDER/access
coredump_dir FOLDER
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
AUTH
acl this src 127.0.0.1
http_access allow this WITH
"""
ASKING = """#!/bin/sh
while read -r user password; do
  [ "$user $password" = "shop pass%20word" ] && echo OK || echo ERR
done
"""


def prism(folder: Path, *, tree: Path, contract: Path, how: Sequence[str]) -> Program:
    """Make Prism, as npm has put it into a tree, serve a contract."""
    port = free_port()
    words = ("mock", "-h", "127.0.0.1", "-p", str(port), *how, str(contract))
    return Program((f"{tree}/node_modules/.bin/prism", *words), port, folder)


def squid(*, password: bool) -> Callable[[Path], Program]:
    """Make a proxy; with `password` it asks for one: of `shop`, `pass word`."""

    def make(folder: Path) -> Program:
        port = free_port()
        asking = Path(folder, "asking")
        asking.write_text(ASKING)
        asking.chmod(0o755)
        auth = f"auth_param basic program {asking}\nacl known proxy_auth REQUIRED"
        text = SQUID.replace("FOLDER", str(folder)).replace("LISTEN", str(port))
        text = text.replace("AUTH", auth if password else "")
        file = Path(folder, "configuration")
        file.write_text(text.replace("WITH", "known" if password else ""))
        return Program(("squid", "-N", "-f", str(file)), port, folder, signal.SIGKILL)

    return make


def socks(*, password: bool) -> Callable[[Path], Program]:
    """Make a SOCKS proxy; with `password` it asks for one: of `shop`, `pass word`."""

    def make(folder: Path) -> Program:
        port = free_port()
        known = ("-u", "shop", "-P", "pass word") if password else ()
        return Program(("microsocks", "-i", "127.0.0.1", "-p", str(port), *known), port, folder)

    return make


@attrs.define
class Interceptor:
    """A proxy that reads what is encrypted: its certificates are its own authority's."""

    here: ssl.SSLContext
    """Shows a certificate of its own to clients."""
    there: ssl.SSLContext
    """Trusts the server's."""
    tunnels: int = 0
    posts: int = 0
    """That it has read."""

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        head, _ = await churn.read_head(stream)
        host, _, port = head.split()[1].decode().partition(":")
        self.tunnels += 1
        await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        client = await TLSStream.wrap(
            stream, server_side=True, ssl_context=self.here, standard_compatible=False
        )
        server = await anyio.connect_tcp(
            host, int(port), ssl_context=self.there, tls_standard_compatible=False
        )
        async with server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._carry, client, server, tasks.cancel_scope)
            await self._carry(server, client, tasks.cancel_scope)

    async def _carry(
        self, source: anyio.abc.ByteStream, target: anyio.abc.ByteStream, scope: anyio.CancelScope
    ) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, OSError):
            while True:
                data = await source.receive()
                self.posts += data.count(b"POST /")
                await target.send(data)
        scope.cancel()
