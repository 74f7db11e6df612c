"""The walls of the house: imports point one way, see the order in CONTRIBUTING.md.

A circle cannot be written without breaking it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [
    {"errors", "threads"},
    {"files", "registry"},
    {"spaces"},
    {"optuna_tools"},
    {"prompts", "tables"},
    {"rankers", "tasks"},
    {"strategies"},
    {"studies"},
    {"reports"},
    {"cli"},
    {"run", "exam", "report", "stamp", "push", "samplers"},
    {"analyse", "reproduce"},
]
FLOOR = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}
BUILDERS_MAY = {"errors", "files", "registry", "threads", "spaces", "prompts", "tables"}
MODULES = [p for package in ("search", "data_builders") for p in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[tuple[str, ...]]:
    """Every module of the project that a file imports anywhere, in parts; a face (search/__init__.py) names modules as
    text.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")) for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {(*node.module.split("."), a.name) for a in node.names}
    return {parts for parts in found if parts[0] in ("search", "data_builders", "benchmarks", "tests")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    package, *inside = path.relative_to(ROOT).with_suffix("").parts
    for parts in imported(path):
        assert parts[0] in (
            "search",
            "data_builders",
        ), f"{path} imports {'.'.join(parts)}: benchmarks and tests are for nobody to import"
        if package == "data_builders":
            assert parts[0] == package or parts[1] in BUILDERS_MAY, (
                f"{path} imports {'.'.join(parts)}: a builder needs no more than {BUILDERS_MAY}"
            )
            continue
        assert parts[0] == "search", f"{path} imports {'.'.join(parts)}: search knows nothing of the builders"
        wing = inside[0]
        if wing == "__init__" or parts[1] == wing or parts[1] not in FLOOR and parts[1] in dir(__import__("search")):
            continue
        assert FLOOR[parts[1]] < FLOOR[wing], f"{path} imports {'.'.join(parts)}: {parts[1]} is not below {wing}"


def test_no_circles_inside_a_wing():
    """Modules of one wing import each other one way too; a package's face counts as the modules it hands on."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in MODULES}
    arrows: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = {".".join(parts[:n]) for parts in imported(path) for n in (len(parts), len(parts) - 1)}
        arrows[name] = {t for t in targets if t in names and t != name and not name.startswith(f"{t}.")}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join([*way, name])}"
        if name not in done:
            for target in arrows[name]:
                visit(target, (*way, name))
            done.add(name)

    for name in names:
        visit(name, ())
