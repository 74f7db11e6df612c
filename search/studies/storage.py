"""Where trials are kept: memory, a journal file, a database, a gRPC proxy.

All are Optuna's engines; files go through our repair.
"""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage

from search.errors import HIDDEN, UserError, without_secrets
from search.studies.evaluate import said
from search.studies.journal import Journal, repair

GRPC_PORT = 13000  # Optuna's default
DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("pymysql", "MySQLdb")}


def open_storage(storage: str | Path | BaseStorage | None) -> tuple[BaseStorage, str | None]:
    """An Optuna storage and what had to be repaired: None is memory, a path a journal file, a URL a database or
    grpc://host:port.
    """
    if storage is None:
        return InMemoryStorage(), None
    if isinstance(storage, BaseStorage):
        return storage, None
    text = str(storage)
    if "://" not in text:
        done = repair(text)
        return JournalStorage(Journal(text)), done
    try:
        return _grpc(text) if text.startswith("grpc://") else _database(text), None
    except UserError:
        raise
    except ImportError as error:
        scheme = text.split("://")[0]
        raise UserError(
            f"storage {scheme} was given but its driver is missing - {', '.join(DRIVERS.get(scheme, ('?',)))} would do"
            " - pip install it"
        ) from error
    except Exception as error:
        raise UserError(
            f"storage {text} cannot be opened ({type(error).__name__}: {first_line(error, text)}) - check the address;"
            " characters such as @ : / in a password are written %40 %3A %2F"
        ) from error


def _database(url: str) -> BaseStorage:
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError  # here, as a journal needs no such

    from search.studies.database import Database

    try:
        return Database(_with_driver(url))
    except (IntegrityError, OperationalError, ProgrammingError) as error:
        if not re.search("exist|duplicate", str(error).lower()):
            raise
        return Database(_with_driver(url))  # another process made the tables at the same moment


def _grpc(url: str) -> BaseStorage:
    from optuna.storages import GrpcStorageProxy

    match = re.fullmatch(r"grpc://([^\s/@:]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?/?", url)
    if match is None or not 1 <= int(match[2] or GRPC_PORT) <= 65535:
        raise UserError(
            f"storage {url} was given - it must read grpc://HOST:PORT with a port from 1 to 65535, without user and"
            " password (the proxy asks for none) - correct it"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls the proxy experimental: nothing that a user could act upon
        return GrpcStorageProxy(host=match[1], port=int(match[2] or GRPC_PORT))


def first_line(error: BaseException, url: str | None) -> str:
    """The first line of what an error says without any part of the password that the URL holds.

    Optuna's own words hide what the database said, and gRPC's text is a form whose one line of news is `details`.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    details = getattr(cause, "details", None)
    text = (said(details() if callable(details) else cause).splitlines() or [""])[0]
    password = re.search(r"://[^\s:@/]*:(\S*)@", url or "")
    parts = re.split(r"[@:/]", f"{password[1]}@{unquote(password[1])}") if password else []
    for part in sorted(filter(None, parts), key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def _with_driver(url: str) -> str:
    """The URL with the database driver that is installed here, where the URL leaves it open."""
    scheme, _, rest = url.partition("://")
    installed = (d for d in DRIVERS.get(scheme, ()) if find_spec(d))
    driver = next(installed, None)
    return f"{scheme}+{driver.lower()}://{rest}" if driver else url


def address(url: str) -> str:
    """A URL without user and password, for messages."""
    scheme, _, rest = url.partition("://")
    return without_secrets(f"{scheme}://{rest.rpartition('@')[2]}")
