"""Which prompt format a model was trained with, written into its folder and checked wherever it is used.

    python -m search.stamp saves/lmsearcher_8b --format paper   # after training; several folders may be named
    python -m search.stamp saves/lmsearcher_8b_ft --format paper --encoding domain      # rows were operator text
    python -m search.stamp saves/lmsearcher_8b                                          # show it

A model asked in another format than it learned answers badly without an error; so the folder carries the format's name
and a hash of its text, and a ranker refuses to serve it with anything else.
"""

from __future__ import annotations

import argparse

from search.errors import cli, program
from search.prompts import FORMATS
from search.prompts.encodings import ENCODINGS
from search.prompts.stamp import read_stamp, write_stamp


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    parser = argparse.ArgumentParser(
        prog=program("search.stamp"), description="Record or show the prompt format of model folders."
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--format", metavar="NAME", help=", ".join(FORMATS))
    parser.add_argument("--encoding", default="ncode", metavar="NAME", help=", ".join(ENCODINGS))
    return parser


def main() -> int:
    """The command line."""
    arguments = parser().parse_args()
    for folder in arguments.folders:
        if arguments.format:
            write_stamp(folder, arguments.format, arguments.encoding)
        stamp = read_stamp(folder)
        print(f"{folder}: {stamp['format']} {stamp['hash']} {stamp['encoding']}" if stamp else f"{folder}: no record")
    return 0


if __name__ == "__main__":
    cli(main)
