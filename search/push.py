"""A model or data folder to the Hugging Face Hub, checked first.

    python -m search.push saves/lmsearcher_8b USER/searcher --dry-run    # what would be sent, or what is missing
    python -m search.push saves/lmsearcher_8b USER/searcher --private
    python -m search.push data USER/rows --dataset                       # a folder whose README.md names its files

A model folder must say which prompt format it learned (search.stamp) and have a card (README.md) with front matter.
Training state and pickles stay here. The token is the Hub client's own: HF_TOKEN, or `hf auth login`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from search.errors import UserError, cli, program
from search.prompts.stamp import read_stamp

KEPT_HERE = (  # what training leaves beside the weights, and every file that runs code when it is read
    ".*",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.pkl",
    "*.npy",
    "checkpoint-*",
    "global_step*",
    "runs",
    "trainer_state.json",
    "latest",
)
NEEDED = {"model": ("license", "library_name"), "dataset": ("license", "configs")}


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    p = argparse.ArgumentParser(
        prog=program("search.push"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path)
    p.add_argument("repository", metavar="USER/NAME")
    p.add_argument("--dataset", action="store_true", help="rows, not a model")
    p.add_argument("--private", action="store_true", help="only you can see it")
    p.add_argument("--message", default=None, help="commit message")
    p.add_argument("--dry-run", action="store_true", help="say what would be sent; nothing leaves this machine")
    return p


def files_to_send(folder: Path) -> list[Path]:
    """The files of a folder that may leave this machine, in order."""
    inside = sorted(p for p in folder.rglob("*") if p.is_file())
    return [p for p in inside if not any(_kept(part) for part in p.relative_to(folder).parts)]


def _kept(part: str) -> bool:
    return any(fnmatch(part, pattern) for pattern in KEPT_HERE)


def front_matter(folder: Path, kind: str) -> Mapping[str, Any]:
    """The card's front matter; UserError when there is no card, or it lacks a key that the Hub sorts by."""
    import yaml

    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    _, begin, rest = text.partition("---\n") if text.startswith("---\n") else ("", "", "")
    try:
        found = yaml.safe_load(rest.partition("\n---")[0]) if begin else None
    except yaml.YAMLError as error:
        raise UserError(
            f"{card} has front matter that is no YAML ({' '.join(str(error).split())}) - correct it"
        ) from error
    found = found if isinstance(found, dict) else {}
    missing = [k for k in NEEDED[kind] if k not in found]
    if missing:
        example = "models/nano/README.md" if kind == "model" else f"{program('data_builders.card')} writes one"
        raise UserError(
            f"{card} has no {' and no '.join(missing)} in its front matter - the Hub shows and finds a {kind} by them -"
            f" add a card: {example}"
        )
    return found


def check(folder: Path, kind: str) -> list[Path]:
    """The files that would be sent; UserError for a folder that others could not use."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder - a folder with a {kind} is sent whole - correct the path")
    files = files_to_send(folder)
    names = {p.relative_to(folder).as_posix() for p in files}
    if kind == "model":
        if not names & {"config.json", "adapter_config.json"} or not any(n.endswith(".safetensors") for n in names):
            raise UserError(
                f"{folder} holds no config.json and *.safetensors - only those are sent - train or export it"
            )
        if read_stamp(folder) is None:
            advice = f"{program('search.stamp')} {folder} --format NAME"
            raise UserError(
                f"{folder} does not say which prompt format it learned - others could not ask it - {advice}"
            )
    card = front_matter(folder, kind)
    if kind == "dataset":
        for config in card["configs"]:
            listed = config.get("data_files", [])
            parts = [listed] if isinstance(listed, str) else [e["path"] if isinstance(e, dict) else e for e in listed]
            for lost in [p for p in parts if "*" not in p and p not in names]:
                raise UserError(f"{folder / 'README.md'} names {lost}, which is not there - build it, or take it out")
    return files


def main() -> int:
    """The command line."""
    args = parser().parse_args()
    kind = "dataset" if args.dataset else "model"
    if args.repository.count("/") != 1 or not all(args.repository.split("/")):
        raise UserError(f"'{args.repository}' was given - the form is USER/NAME - correct it")
    files = check(args.folder, kind)
    for path in files:
        print(f"{path.stat().st_size:>14,}  {path.relative_to(args.folder)}")
    print(f"{sum(p.stat().st_size for p in files):>14,}  bytes in {len(files)} files, {kind} {args.repository}")
    if args.dry_run:
        print("dry run: nothing was sent")
        return 0
    _send(args, kind, files)
    return 0


def _send(args: argparse.Namespace, kind: str, files: list[Path]) -> None:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    except ImportError as error:
        raise UserError(
            "huggingface_hub is missing - it comes with the extra nano - pip install huggingface_hub"
        ) from error
    hub = HfApi()
    try:
        hub.create_repo(args.repository, repo_type=kind, private=args.private or None, exist_ok=True)
        done = hub.upload_folder(
            repo_id=args.repository,
            repo_type=kind,
            folder_path=args.folder,
            allow_patterns=[p.relative_to(args.folder).as_posix() for p in files],
            commit_message=args.message or f"{args.folder.name}, sent by lm-searcher",
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the Hub did not take it: {first} - check the name, HF_TOKEN and its right to write"
        ) from error
    print(f"sent: {done}")


if __name__ == "__main__":
    cli(main)
