"""The options that retrain and score share: which base model, which concepts, which ranks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.tasks.sd.space import PARTITIONS


def add_arguments(parser: ArgumentParser) -> None:
    """Options for the base model and the concepts; without any, the embedded ones."""
    parser.add_argument("--sd", type=Path, help="folder of Stable Diffusion 1.5 (default: the embedded base model)")
    parser.add_argument("--clip", type=Path, help="folder of CLIP ViT-B/32")
    parser.add_argument("--dino", type=Path, help="folder of DINO ViT-S/16")
    parser.add_argument(
        "--concept",
        action="append",
        default=[],
        metavar="FOLDER=CLASS",
        help="a concept, its class word; several times",
    )
    parser.add_argument("--pixels", type=int, default=512, help="of a side, with --sd (default 512)")
    parser.add_argument("--layers", type=int, choices=(1, 16), help="vectors of a new token (default 1; 16 with --sd)")
    parser.add_argument("--partition", default="attn1-attn2-rest", help=f"one of {', '.join(PARTITIONS)}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default 1)")


def read(args: Namespace, precision: str = "fp32") -> tuple[Any, tuple[Any, ...]]:
    """(base model, concepts) that the options name."""
    from search.tasks.sd.prepare import check_packages

    check_packages()
    import torch

    from search.tasks.sd import concepts
    from search.tasks.training import open_place

    torch.set_num_threads(args.threads)
    folders = {"sd": args.sd, "clip": args.clip, "dino": args.dino}
    if not any(folders.values()) and not args.concept:
        from search.tasks.sd.prepare import embedded_base

        return embedded_base(layers=args.layers or 1), concepts.scene_concepts()
    if not all(folders.values()) or not args.concept:
        raise UserError(
            f"{', '.join('--' + k for k, v in folders.items() if v) or '--concept'} was given - the route with real"
            " weights needs --sd, --clip, --dino and at least one --concept FOLDER=CLASS - add them"
        )
    from search.tasks.sd.base import from_folders

    found = tuple(concepts.from_folder(Path(f), c or None, args.pixels) for f, _, c in map(_split, args.concept))
    if len({c.name for c in found}) < len(found):
        raise UserError("two concepts have the same folder name - it becomes their placeholder - rename one")
    place = open_place(args.device)
    return from_folders(args.sd, args.clip, args.dino, precision, place.device, args.pixels, args.layers or 16), found


def _split(text: str) -> tuple[str, str, str]:
    return text.rpartition("=") if "=" in text else (text, "", "")


def shown(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> str:
    """A plain table with aligned columns."""
    text = [list(head), *[[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row] for row in rows]]
    widths = [max(len(row[i]) for row in text) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in text)
