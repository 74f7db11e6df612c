"""What mkdocs shows: every Markdown page of the repository under its own path, and the pictures they show.

A hook of mkdocs.yml. README.md is the start page; a link to a file that is no page (code, YAMLs) becomes its path.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = re.compile(r"^(\.|runs/|saves/|out/|build/)|/\.|\.github/")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def pages() -> list[str]:
    """Repository paths of all pages and pictures."""
    found = [p.relative_to(ROOT).as_posix() for p in (*ROOT.rglob("*.md"), *ROOT.rglob("*.png"))]
    return sorted(p for p in found if not LEFT_OUT.search(p))


def place(path: str) -> str:
    """Where a page stands in the site."""
    return "index.md" if path == "README.md" else path


def on_files(files: Any, config: Any) -> Any:
    """Give mkdocs the pages in place of what it found in docs/; nothing is copied."""
    from mkdocs.structure.files import File

    for file in [f for f in files if (f.abs_src_path or "").startswith(str(ROOT / "docs"))]:
        files.remove(file)
    for path in pages():
        files.append(File.generated(config, place(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Links that stay within the site, or their text alone where nothing of the site is meant."""
    here = PurePosixPath("README.md" if page.file.src_uri == "index.md" else page.file.src_uri).parent
    known = set(pages())

    def link(found: re.Match[str]) -> str:
        label, target, anchor = found[1], found[2], found[3] or ""
        path = _normal(here / target)
        for one in (path, f"{path}/README.md"):
            if one in known:
                up = "../" * len(PurePosixPath(place(page.file.src_uri)).parent.parts)
                return f"[{label}]({up}{place(one)}{anchor})"
        return f"{label} (`{path}`)" if label.strip("`") != path else label

    return LINK.sub(link, text)


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
