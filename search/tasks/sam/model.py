"""SAM without prompts: the small model of the embedded default or a published checkpoint, its adapters, its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.sam.conv_lora import ConvLoRA
from search.tasks.sam.space import EMBEDDED, LARGEST

SIZE = 64  # pixels of a side of the embedded pictures: with SAM's own patches of 16, 4 x 4 tokens, so seconds do
WINDOW = 2  # tokens of a side: four windows a picture


def small(blocks: int = EMBEDDED.blocks, width: int = EMBEDDED.width) -> Any:
    """A SamModel of narrow blocks in SAM's own structure: windows of 2 x 2 patches, four global blocks."""
    from transformers import SamConfig, SamModel

    quarter = blocks // 4
    vision = {
        "hidden_size": width,
        "mlp_dim": 2 * width,
        "num_hidden_layers": blocks,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 16,
        "window_size": WINDOW,
        "global_attn_indexes": [quarter * (k + 1) - 1 for k in range(4)],
        "output_channels": width,
        "num_pos_feats": width // 2,
    }
    prompt = {"hidden_size": width, "image_size": SIZE, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": width, "mlp_dim": 2 * width, "num_attention_heads": 2, "iou_head_hidden_dim": width}
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    for module in model.modules():  # SamConfig's own start (deviation 1e-10) is for loading weights, not for learning
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    return model


def published(name: str) -> Any:
    """A checkpoint with SAM's architecture, from the Hugging Face hub or a folder; UserError if there is none."""
    from transformers import SamModel

    return _loaded(name, lambda: SamModel.from_pretrained(name, use_safetensors=True))  # never a pickle


def shape_of(name: str) -> tuple[int, int]:
    """(blocks, width) of a checkpoint's image encoder, from its config.json."""
    from transformers import SamConfig

    found = _loaded(name, lambda: SamConfig.get_config_dict(name)[0])
    if found.get("model_type") != "sam":
        raise UserError(f"model {name} is no SAM model (its config.json says {found.get('model_type')}) - give one")
    config = SamConfig.from_dict(found).vision_config
    return config.num_hidden_layers, config.hidden_size


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # whatever the hub, the file system or the weights' reader has to say
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"model {name} cannot be loaded ({why}) - a name like facebook/sam-vit-huge, or a folder with config.json"
            " and model.safetensors, is needed - check the name and the connection"
        ) from error


def add_adapters(model: Any, ranks: Sequence[int], experts: int, seed: int = 0, drawn: int = LARGEST) -> Any:
    """Freeze the model but its mask decoder and put a Conv-LoRA module of the given rank on every block's qkv.

    What a module starts from depends on seed and block alone: smaller ranks take the first rows of rank `drawn`.
    """
    model.requires_grad_(False)
    for i, (layer, rank) in enumerate(zip(model.vision_encoder.layers, ranks, strict=True)):
        dice = torch.Generator().manual_seed(seed * 1009 + i)
        layer.attn.qkv = ConvLoRA(layer.attn.qkv, rank, experts, dice, max(drawn, rank))
    for name, weights in model.mask_decoder.named_parameters():
        weights.requires_grad_(not name.startswith("iou_prediction_head"))
    return model


def adapters(model: Any) -> list[ConvLoRA]:
    """The modules, in the order of the blocks; none before `add_adapters`."""
    return [layer.attn.qkv for layer in model.vision_encoder.layers if isinstance(layer.attn.qkv, ConvLoRA)]


def cut(model: Any, ranks: Sequence[int]) -> None:
    """Use the first `ranks[i]` ranks of each module."""
    for module, rank in zip(adapters(model), ranks, strict=True):
        if rank > module.largest:
            raise UserError(f"rank {rank} was asked of a module of rank {module.largest} - adapters only shrink")
        module.rank = rank


def trained(model: Any) -> dict[str, torch.Tensor]:
    """The weights that adaptation changes, by name: adapters, and the mask decoder without its IoU head."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def logits(model: Any, pictures: torch.Tensor, size: int | None = None) -> torch.Tensor:
    """Mask logits without any prompt, (n, size, size); pictures normalised, (n, 3, side, side).

    One mask a picture (multimask off). size: of the masks; default the pictures' side.
    """
    masks = model(pixel_values=pictures, multimask_output=False).pred_masks[:, 0]
    size = size or pictures.shape[-1]
    return F.interpolate(masks.float(), size=(size, size), mode="bilinear", align_corners=False)[:, 0]
