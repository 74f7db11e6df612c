"""The embedded base model: a small CLIP, a Stable Diffusion UNet with narrow blocks, an identity encoder, a tokenizer.

The UNet has Stable Diffusion 1.5's layout - 16 transformer blocks, hence the same 48 groups - at 1/250 of its weights.
It works on pixels: a 4x4 patch of a 16x16 picture is one place of a 4x4 map with 48 channels, in the VAE's stead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.sd.scenes import PIXELS, WORDS

PATCH = 4  # pixels of a side that become one place of the UNet's map
WIDTH = 64  # of the text encoder, and of what the UNet's cross-attention reads
LENGTH = 16  # tokens of a prompt: the longest caption has 15
PAD, BOS, EOS = 0, 1, 3  # CLIP takes an end token 2 for its old configuration and pools elsewhere
_SPECIAL = ("<pad>", "<bos>", "<unused>", "<eos>")


class WordTokenizer:
    """One token a word, of the small world's words; placeholders of concepts stand for `per_concept` tokens each."""

    def __init__(self) -> None:
        self.ids = {word: i for i, word in enumerate((*_SPECIAL, *WORDS))}
        self.size, self.length = len(self.ids), LENGTH

    def __call__(self, prompts: Sequence[str], placeholders: dict[str, list[int]] | None = None) -> Tensor:
        """Token numbers, int64 (n, 16), padded with 0; UserError for a word that the small world lacks."""
        out = torch.full((len(prompts), LENGTH), PAD)
        for i, prompt in enumerate(prompts):
            row = [BOS]
            for word in prompt.split():
                if word not in self.ids and word not in (placeholders or {}):
                    raise UserError(
                        f"the prompt '{prompt}' has the word '{word}' - the embedded base model knows"
                        f" {', '.join(WORDS)} - use these, or a base model of your own"
                    )
                row += placeholders[word] if placeholders and word in placeholders else [self.ids[word]]
            if len(row) >= LENGTH:
                raise UserError(f"the prompt '{prompt}' has {len(row)} tokens - at most {LENGTH - 1} fit - shorten it")
            out[i, : len(row) + 1] = torch.tensor([*row, EOS])
        return out


def small_clip() -> Any:
    """An untrained CLIP of 64 dimensions."""
    from transformers import CLIPConfig, CLIPModel

    layers = {"hidden_size": WIDTH, "intermediate_size": 128, "num_attention_heads": 4}
    ids = {"vocab_size": len(_SPECIAL) + len(WORDS), "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    text = {**layers, **ids, "num_hidden_layers": 2, "max_position_embeddings": LENGTH}
    vision = {**layers, "num_hidden_layers": 3, "image_size": PIXELS, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


def small_unet(channels: tuple[int, int, int, int] = (32, 64, 64, 64)) -> Any:
    """An untrained UNet with the blocks of Stable Diffusion 1.5."""
    from diffusers import UNet2DConditionModel

    inputs = 3 * PATCH * PATCH
    return UNet2DConditionModel(
        sample_size=PIXELS // PATCH, in_channels=inputs, out_channels=inputs, layers_per_block=2,
        block_out_channels=channels, cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip


def text_vectors(model: Any, tokens: Tensor) -> Tensor:
    """Unit vectors of prompts, (n, width)."""
    pooled = model.text_model(input_ids=tokens).pooler_output
    return F.normalize(model.text_projection(pooled), dim=1)


def picture_vectors(model: Any, pictures: Tensor) -> Tensor:
    """Unit vectors of pictures 0 to 1, (n, width)."""
    return F.normalize(model.visual_projection(model.vision_model(pixel_values=pictures * 2 - 1).pooler_output), dim=1)


class IdentityEncoder(nn.Module):
    """The part that DINO plays: unit vectors (n, 64) that are near for one toy and far for two, wherever they stand."""

    def __init__(self) -> None:
        super().__init__()
        steps = ((3, 32, 1), (32, 48, 2), (48, 64, 2), (64, 96, 1))
        self.features = nn.Sequential(
            *(
                layer
                for inside, outside, stride in steps
                for layer in (nn.Conv2d(inside, outside, 3, stride, 1), nn.GroupNorm(8, outside), nn.GELU())
            )
        )
        self.where = nn.Conv2d(96, 2, 1)  # two places to look at
        self.out = nn.Linear(2 * 96, WIDTH)

    def forward(self, picture: Tensor) -> Tensor:
        h = self.features(picture * 2 - 1)
        weights = self.where(h).flatten(2).softmax(-1)
        return F.normalize(self.out(torch.einsum("nkp,ncp->nkc", weights, h.flatten(2)).flatten(1)), dim=1)


class Patches:
    """Pictures 0 to 1 as the UNet's map, and back: exact, in the place of a VAE."""

    channels, side = 3 * PATCH * PATCH, PIXELS // PATCH

    def encode(self, picture: Tensor) -> Tensor:
        """float32 (n, 48, 4, 4) of (n, 3, 16, 16)."""
        return F.pixel_unshuffle(picture * 2 - 1, PATCH)

    def decode(self, latent: Tensor) -> Tensor:
        """The inverse, clipped to 0 to 1."""
        return (F.pixel_shuffle(latent, PATCH).clamp(-1, 1) + 1) / 2


# the picture is predicted: 32 channels cannot pass the noise of 48 inputs on, which a velocity has in it
SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}
