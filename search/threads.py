"""Threads that do not get in each other's way: one BLAS thread for small matrices, OpenMP threads that sleep while they
wait.

On matrices of a few hundred rows a second OpenBLAS thread gains nothing, and on a busy machine its spinning makes a
step ten to twenty times slower. Only numpy's OpenBLAS is held back; the threads of torch, which large models need, are
left alone. Those wait for each other by spinning unless told otherwise, which costs a small model the same on a busy
machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def _openblas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")


def single_blas_thread(function: F) -> F:
    """The function, run with OpenBLAS limited to one thread."""

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        with _openblas().limit(limits=1):
            return function(*args, **kwargs)

    return limited  # type: ignore[return-value]


def wait_asleep() -> None:
    """Let OpenMP threads sleep while they wait, unless the user chose otherwise.

    Takes effect if called before torch is first imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
