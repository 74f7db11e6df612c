"""The console command `lmsearcher`, and a plain word when a user's own search.py stands in our place.

The package is called `search`. A file search.py in the folder of a user's script, or in a folder of PYTHONPATH, is
found first; Python then says only that it "cannot import name". `from lmsearcher import minimize` is the same as `from
search import minimize`, and says whose file is in the way.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def check_name() -> None:
    """ImportError when `search` means another file than ours."""
    ours = Path(__file__).resolve().parent.parent / "search" / "__init__.py"
    loaded = sys.modules.get("search")
    spec = None if loaded else find_spec("search")
    found = getattr(loaded, "__file__", None) or (spec.origin if spec else None)
    if found is None or Path(found).resolve() != ours:
        raise ImportError(
            f"'search' means {found or 'nothing'} here, not LM-Searcher's package {ours.parent} - rename that file"
            " (and remove its __pycache__), or start from another folder"
        )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'lmsearcher' has no attribute '{name}'")
    check_name()
    return getattr(import_module("search"), name)


def main() -> None:
    """The console command."""
    try:
        check_name()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    from search.cli.commands import main as commands
    from search.errors import cli

    cli(commands)
