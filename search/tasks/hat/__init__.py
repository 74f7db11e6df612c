"""HAT: hardware-aware search of a translation transformer by weight sharing (Wang et al. 2020; paper section 4.3).

python -m search.run --task hat --budget 60               embedded German-English corpus, reduced widths, this device
python -m search.tasks.hat.prepare  --iwslt14 de-en.tgz   the real corpus (recipes/search/hat.yaml has the whole route)
python -m search.tasks.hat.supernet --data DIR            train the weight-shared transformer
python -m search.tasks.hat.latency  --csv FILE            how well latency can be predicted from ten shape features
python -m search.tasks.hat.retrain  --code CODE           train the winner from scratch
python -m search.tasks.hat.score    --run DIR             BLEU and SacreBLEU of a retrained model
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The task class, imported on first use so that `python -m search.tasks.hat.latency` stays light."""
    if name == "Hat":
        from search.tasks.hat.task import Hat

        return Hat
    raise AttributeError(f"module 'search.tasks.hat' has no attribute '{name}'")
