"""Where trials are kept: memory, a journal file, a database, a gRPC proxy.

All are Optuna's engines; files go through our repair.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, get_storage

from search.errors import UserError
from search.studies.journal import Journal, repair

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
        if text.startswith("grpc://"):
            from optuna.storages import GrpcStorageProxy

            host, _, port = text.removeprefix("grpc://").partition(":")
            return GrpcStorageProxy(host=host, port=int(port or 13000)), None
        return get_storage(_with_driver(text)), None
    except ImportError as error:
        scheme = text.split("://")[0]
        raise UserError(
            f"storage {scheme} was given but its driver is missing - {', '.join(DRIVERS.get(scheme, ('?',)))} would do"
            " - pip install it"
        ) from error
    except Exception as error:
        raise UserError(
            f"storage {address(text)} cannot be opened ({type(error).__name__}: {str(error).splitlines()[0]}) - check"
            " the address"
        ) from error


def _with_driver(url: str) -> str:
    """The URL with the database driver that is installed here, where the URL leaves it open."""
    scheme, _, rest = url.partition("://")
    installed = (d for d in DRIVERS.get(scheme, ()) if find_spec(d))
    driver = next(installed, None)
    return f"{scheme}+{driver.lower()}://{rest}" if driver else url


def address(url: str) -> str:
    """A URL without user and password, for messages."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
