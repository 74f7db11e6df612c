"""Database servers of a test's own on the loopback address; a test is skipped where their programs are missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def started(command: Sequence[str], home: Path, port: int, ready: bytes) -> Iterator[subprocess.Popen]:
    """The server while the block lasts, once it listens and its log says that it is ready."""
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_server_user())
    try:
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0 and ready in (home / "log").read_bytes():
                    break
            time.sleep(0.1)
        else:
            pytest.fail(f"{command[0]} did not start: {(home / 'log').read_text()[-500:]}")
        yield process
    finally:
        process.send_signal(signal.SIGINT if b"postgres" in command[0].encode() else signal.SIGTERM)
        process.wait()


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
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
        with started(command, home, port, b"ready to accept"):
            yield f"postgresql://searcher@127.0.0.1:{port}/postgres"


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
        with started([server, "--no-defaults", f"--datadir={data}", *options], home, port, b"ready for connections"):
            with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
                connection.cursor().execute("CREATE DATABASE studies")
            yield f"mysql://root@127.0.0.1:{port}/studies"
