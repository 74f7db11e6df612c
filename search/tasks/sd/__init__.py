"""LoRA ranks in Stable Diffusion (paper section 4.4): 48 groups of UNet modules, one rank each, as in ED-LoRA.

python -m search.run --task sd --budget 40            embedded: a small base model trained here, generated pictures
python -m search.run --task sd --task-option sd=SD15 --task-option clip=CLIP --task-option dino=DINO \\
    --task-option concept=FOLDER --task-option class_word=dog     Stable Diffusion 1.5 on a GPU, your pictures
python -m search.tasks.sd.retrain --run runs/sd       the best code's concepts learned longer, fused, a contact sheet
python -m search.tasks.sd.score --run runs/sd-long    each alone, fused and averaged: CLIP-T, CLIP-I, identity
python -m search.tasks.sd.prepare                     only the embedded base model
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The task class, imported on first use so that the commands beside it stay light."""
    if name == "StableDiffusion":
        from search.tasks.sd.task import StableDiffusion

        return StableDiffusion
    raise AttributeError(f"module 'search.tasks.sd' has no attribute '{name}'")
