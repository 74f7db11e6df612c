"""The ranks of a code as a picture: a bar a block, the blocks with global attention marked.

python -m search.tasks.sam.picture --code CODE --out ranks.png
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from search.errors import cli
from search.files import write_atomic
from search.tasks.sam.space import RANKS, ranks, sam_space

TALL = 4  # rows of the bars in a terminal: one for each rank


def bars(code: str) -> str:
    """The picture for a terminal: a column a block, as tall as its rank is large."""
    rows = [
        f"{RANKS[level]:4} " + "".join("#" if int(digit) >= level else " " for digit in code)
        for level in reversed(range(TALL))
    ]
    return "\n".join(
        [*rows, "     " + "".join("^" if i in global_blocks(len(code)) else "." for i in range(len(code)))]
    )


def global_blocks(blocks: int) -> list[int]:
    """The blocks that attend to the whole picture: the last of each quarter, as in all of SAM's encoders."""
    return [blocks * (k + 1) // 4 - 1 for k in range(4)]


def draw(code: str, path: str | Path) -> Path:
    """Write the picture of a code as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sam_space(len(code)).check(code)
    figure = Figure(figsize=(max(4.0, 0.3 * len(code)), 2.8), layout="constrained")
    axes = figure.add_subplot()
    marked = global_blocks(len(code))
    colours = ["#c2703d" if i in marked else "#3b6ea5" for i in range(len(code))]
    axes.bar(range(len(code)), ranks(code), color=colours, width=0.8)
    axes.set_yticks(RANKS)
    axes.set_xlabel("block (orange: global attention)")
    axes.set_ylabel("rank")
    axes.set_xlim(-0.7, len(code) - 0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return write_atomic(path, buffer.getvalue())


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sam.picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--code", required=True, help="one digit a block: 32, 24 or 12")
    parser.add_argument("--out", type=Path, default=Path("ranks.png"))
    args = parser.parse_args(argv)
    path = draw(args.code, args.out)
    print(f"{bars(args.code)}\n{path}")
    return 0


if __name__ == "__main__":
    cli(main)
