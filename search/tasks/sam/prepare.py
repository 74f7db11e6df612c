"""What lies in a folder of published data sets, and whether it is whole.

    python -m search.tasks.sam.prepare --data datasets            how many pictures each setting of Table 3 finds
    python -m search.tasks.sam.prepare --data datasets --read     every picture and mask is read as well

Nothing is written: pictures are read from where they lie. recipes/search/sam.yaml says where to get which.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.tasks.training import update_bar


def main(argv: list[str] | None = None) -> int:
    """The command line: 2 where nothing was found or something is torn."""
    parser = argparse.ArgumentParser(
        prog="python -m search.tasks.sam.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--read", action="store_true", help="read every file (minutes)")
    args = parser.parse_args(argv)
    from search.tasks.sam.datasets import SETTINGS, open_setting

    whole = 0
    for name, plan in SETTINGS.items():
        try:
            setting = open_setting(name, args.data, size=64)  # small: only whether files can be read counts
            if args.read:
                _read(setting)
        except UserError as error:
            print(f"{name:9} -  {error}")
            continue
        whole += 1
        counts = ", ".join(f"{part} {n}" for part, (n, _) in setting.about().items())
        print(f"{name:9} ok {counts}; metrics {', '.join(plan.metrics)}")
    if not whole:
        raise UserError(f"{args.data} holds none of the data sets - see above - give another --data")
    return 0


def _read(setting: Any) -> None:
    for files in (setting.train, *setting.valid.values(), *setting.test.values()):
        bar = update_bar(len(files), 0, True, "picture")
        for x, _ in files.parts(32):
            bar.update(len(x))
        bar.close()


if __name__ == "__main__":
    cli(main)
