"""Both cells of a code as a picture: states as boxes, operations on the arrows.

python -m search.tasks.darts.picture --code CODE --out cells.png
python -m search.tasks.darts.picture --genotype "Genotype(normal=[...], ...)" --out cells.png
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import write_atomic
from search.spaces.nb301 import decode_cell, parse_genotype, space

STATES = ("previous but one", "previous", "node 2", "node 3", "node 4", "node 5", "output")
PLACES = {  # nodes alternate between the rows above and below, so that arrows have room for their names
    0: (0.0, 2.3),
    1: (0.0, 0.2),
    2: (1.9, 3.0),
    3: (3.6, -0.5),
    4: (5.3, 3.0),
    5: (7.0, -0.5),
    6: (8.9, 1.25),
}
_CENTRED = {"ha": "center", "va": "center"}
_LABEL = {"fc": "white", "ec": "none", "pad": 0.6}


def draw(code: str, path: str | Path) -> Path:
    """Write the picture of a 22-digit code as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    space().check(code)
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    for row, (title, digits) in enumerate((("normal cell", code[:11]), ("reduction cell", code[11:]))):
        axes = figure.add_subplot(2, 1, row + 1)
        _cell(axes, digits)
        axes.set_title(title, loc="left", fontsize=12)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return write_atomic(path, buffer.getvalue())


def _cell(axes: Any, digits: str) -> None:
    arrow = {"arrowstyle": "-|>", "shrinkA": 24, "shrinkB": 24, "linewidth": 1.1}
    for node in (2, 3, 4, 5):
        axes.annotate("", PLACES[6], PLACES[node], arrowprops=arrow | {"color": "#cccccc"})
    for k, (name, source) in enumerate(decode_cell(digits)):
        start, end = PLACES[source], PLACES[2 + k // 2]
        bend = 0.1 if k % 2 else -0.1
        curve = {"connectionstyle": f"arc3,rad={bend}", "color": "#3b6ea5"}
        axes.annotate("", end, start, arrowprops=arrow | curve)
        axes.text(*_along(start, end, bend), name.replace("_", " "), fontsize=8, zorder=5, **_CENTRED, bbox=_LABEL)
    for state, name in enumerate(STATES):
        colour = "#dfe9f5" if state < 2 else "#f7eed8" if state < 6 else "#e3f1e1"
        box = {"boxstyle": "round", "fc": colour, "ec": "#777777"}
        axes.text(*PLACES[state], name, fontsize=9, zorder=4, **_CENTRED, bbox=box)
    axes.set_xlim(-0.9, 9.6)
    axes.set_ylim(-1.0, 3.5)
    axes.axis("off")


def _along(start: tuple[float, float], end: tuple[float, float], bend: float) -> tuple[float, float]:
    """A point of matplotlib's arc3 curve, a little nearer to its end, where arrows of one source have parted."""
    share = 0.56
    (x0, y0), (x1, y1) = start, end
    control = (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)
    weights = ((1 - share) ** 2, 2 * share * (1 - share), share**2)
    x, y = (sum(w * v for w, v in zip(weights, values)) for values in zip(start, control, end))
    return x, y


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.darts.picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--code", help="22 digits")
    parser.add_argument("--genotype", help="DARTS' text of the two cells")
    parser.add_argument("--out", type=Path, default=Path("cells.png"))
    args = parser.parse_args(argv)
    if (args.code is None) == (args.genotype is None):
        raise UserError(
            "neither or both of --code and --genotype were given - exactly one names the cells - see --help"
        )
    print(draw(args.code or parse_genotype(args.genotype), args.out))
    return 0


if __name__ == "__main__":
    cli(main)
