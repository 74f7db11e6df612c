"""Segmentation: the ranks of Conv-LoRA modules in SAM's image encoder (paper section 4.3, Tables 2 and 3).

python -m search.run --task sam --budget 60          a small SAM model and generated pictures, no download
python -m search.tasks.sam.prepare  --data DIR       what lies in a folder of published data sets, checked
python -m search.tasks.sam.pretrain                  the embedded model and its nested adapters, without a search
python -m search.tasks.sam.retrain  --code CODE      train the winner long, several seeds
python -m search.tasks.sam.score    --run DIR        the metrics of Table 3 on test pictures
python -m search.tasks.sam.picture  --code CODE      a bar a block
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The task class, imported on first use so that the commands above stay light."""
    if name == "Sam":
        from search.tasks.sam.task import Sam

        return Sam
    raise AttributeError(f"module 'search.tasks.sam' has no attribute '{name}'")
