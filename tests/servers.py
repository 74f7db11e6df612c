"""Database servers of a test's own on the loopback address; a test is skipped where their programs are missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def as_server_user() -> dict:
    """PostgreSQL refuses to run as root: then servers are started as nobody."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def home_of_server() -> Iterator[Path]:
    """A folder that the server's user can pass through, which pytest's own is not."""
    home = Path(tempfile.mkdtemp(prefix="server"))
    try:
        os.chmod(home, 0o711)
        data = home / "data"
        data.mkdir()
        if os.geteuid() == 0:
            os.chown(data, 65534, 65534)
        os.chmod(data, 0o700)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Server:
    """A server that can be ended and started again on the same port and data. ready: what its log says then."""

    def __init__(
        self, command: Sequence[str], home: Path, port: int, ready: bytes, user: Mapping = MappingProxyType({})
    ):
        self.command, self.home, self.port, self.ready, self.user = list(command), home, port, ready, dict(user)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with open(self.home / "log", "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd="/", **self.user)
        for _ in range(1200):
            with socket.socket() as probe:
                listens = probe.connect_ex(("127.0.0.1", self.port)) == 0
            if listens and self.ready in (self.home / "log").read_bytes():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        pytest.fail(f"{self.command[0]} did not start: {(self.home / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if "postgres" in self.command[0] else signal.SIGTERM)
        if self.process is not None:
            self.process.wait()


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """The server while the block lasts."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def grpc_proxy(storage: str, home: Path) -> Iterator[tuple[str, Server]]:
    """Optuna's gRPC proxy before another storage: its URL and the server."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    port = free_port()
    script = "import sys, optuna\nfrom optuna.storages import get_storage, run_grpc_proxy_server\n"
    script += "run_grpc_proxy_server(get_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    with started(Server([sys.executable, "-c", script, storage, str(port)], home, port, b"")) as server:
        yield f"grpc://127.0.0.1:{port}", server


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
    with postgresql_server() as (url, _):
        yield url


@contextmanager
def postgresql_server() -> Iterator[tuple[str, Server]]:
    """The URL of a PostgreSQL database, and its server."""
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed")
    folders = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb = next((found for f in folders if (found := shutil.which("initdb", path=f and str(f)))), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server programs (Debian: apt-get install postgresql)")
    server, port = str(Path(initdb).resolve().with_name("postgres")), free_port()
    with home_of_server() as home:
        data = str(home / "data")
        make = [initdb, "-D", data, "-U", "searcher", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd="/", **as_server_user())
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        command = [server, "-D", data, "-p", str(port), *options]
        with started(Server(command, home, port, b"ready to accept", as_server_user())) as running:
            yield f"postgresql://searcher@127.0.0.1:{port}/postgres", running


@contextmanager
def mysql() -> Iterator[str]:
    """The URL of a MariaDB database, which speaks MySQL's protocol."""
    pymysql = pytest.importorskip("pymysql", reason="pymysql is not installed")
    make, server = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path=os.defpath + ":/usr/sbin")
    if make is None or server is None:
        pytest.skip("no MariaDB server programs (Debian: apt-get install mariadb-server)")
    port = free_port()
    with home_of_server() as home:
        data = str(home / "data")
        subprocess.run(
            [make, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
            check=True,
            capture_output=True,
            cwd="/",
            **as_server_user(),
        )
        options = [
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={data}/s",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        command = [server, "--no-defaults", f"--datadir={data}", *options]
        with started(Server(command, home, port, b"ready for connections", as_server_user())):
            with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
                connection.cursor().execute("CREATE DATABASE studies")
            yield f"mysql://root@127.0.0.1:{port}/studies"
