"""The one thing pyproject.toml cannot say: models, YAMLs, recipes and sample rows stay at the repository's root, where
LLaMA-Factory and the README want them, and travel in the wheel as search/shipped/. An editable installation copies
nothing.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = (  # models by name: the folder may also hold downloads and trained weights that are nobody else's business
    "dataset_info.json",
    "data/sample_*.jsonl",
    "data/README.md",
    "models/nano/*",
    "models/nano_answer/*",
    "models/raw/*",
    "models/raw/*",
    "models/tiny/*",
    "yaml/*",
    "recipes/**/*",
)


class BuildWithShippedFiles(build_py):
    """build_py, then the shipped files beside search/*.py."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "search" / "shipped"
        shutil.rmtree(target, ignore_errors=True)
        for pattern in SHIPPED:
            for path in sorted(p for p in ROOT.glob(pattern) if p.is_file()):
                place = target / path.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


setup(cmdclass={"build_py": BuildWithShippedFiles})
