"""A base model with its judges, from the cache or from folders: everything that an evaluation needs.

embedded(folder)                          what `pretrain` made
from_folders(sd, clip, dino, ...)         Stable Diffusion 1.5, CLIP ViT-B/32 and DINO ViT-S/16 from Hugging Face
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search.errors import UserError
from search.tasks.sd.lora import check_modules
from search.tasks.sd.space import BLOCKS, groups
from search.tasks.sd.tokens import ConceptTable, encode, give_each_layer_its_text


@dataclass(frozen=True)
class Base:
    """A text-to-image model and its judges.

    unet, text_encoder: as diffusers and transformers have them; the encoder's table takes concepts.
    tokenizer(prompts, placeholders) -> int64 (n, tokens).
    codec: encode pictures (n, 3, pixels, pixels) from 0 to 1 as latents, decode them again; `channels`, `side`.
    schedule: configuration of the noise.
    text_vectors(prompts), picture_vectors(pictures), identity_vectors(pictures): unit vectors of the judges.
    negative: prompt that guidance leads away from.
    prefix: what CLIPScore puts before a caption.
    layers: vectors of a new token.
    """

    unet: Any
    text_encoder: Any
    tokenizer: Any
    codec: Any
    schedule: dict[str, Any]
    text_vectors: Callable[[Sequence[str]], Tensor]
    picture_vectors: Callable[[Tensor], Tensor]
    identity_vectors: Callable[[Tensor], Tensor]
    negative: str
    pixels: int
    layers: int
    about: dict[str, Any]
    device: str = "cpu"

    def copied(self) -> Base:
        """The same with a UNet and a text encoder of its own, to train or merge."""
        return replace(self, unet=copy.deepcopy(self.unet), text_encoder=copy.deepcopy(self.text_encoder))

    def text(self, prompts: Sequence[str]) -> Tensor:
        """What the UNet reads of prompts."""
        return encode(self.text_encoder, self.tokenizer, prompts, self.device)


def _prepared(unet: Any, encoder: Any, layers: int) -> tuple[Any, Any]:
    check_modules(unet, [name for names in groups("attn1-attn2-rest").values() for name in names])
    encoder.embeddings.token_embedding = ConceptTable(encoder.embeddings.token_embedding, layers)
    give_each_layer_its_text(unet, BLOCKS)
    return unet.eval().requires_grad_(False), encoder.eval().requires_grad_(False)


def embedded(clip: Any, unet: Any, identity: Any, layers: int = 1, about: dict[str, Any] | None = None) -> Base:
    """The embedded base model of trained parts."""
    from search.tasks.sd import models

    tokenizer = models.WordTokenizer()
    unet, encoder = _prepared(unet, copy.deepcopy(clip.text_model), layers)
    return Base(
        unet, encoder, tokenizer, models.Patches(), models.SCHEDULE,
        lambda prompts: models.text_vectors(clip, tokenizer(prompts)), lambda x: models.picture_vectors(clip, x),
        identity, "", models.PIXELS, layers, about or {},
    )  # fmt: skip


NEGATIVE = (
    "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, worst quality, low"
    " quality"
)
PREFIX = "A photo depicts "  # CLIPScore's


class FolderTokenizer:
    """CLIP's tokenizer from a folder; placeholders of concepts stand for their new tokens."""

    def __init__(self, folder: Path):
        from transformers import CLIPTokenizer

        self.inner = _loaded(CLIPTokenizer, folder, "the tokenizer")
        self.length = min(int(self.inner.model_max_length), 77)

    def __call__(self, prompts: Sequence[str], placeholders: dict[str, list[int]] | None = None) -> Tensor:
        """Token numbers, int64 (n, 77), cut to that length."""
        out = torch.full((len(prompts), self.length), int(self.inner.pad_token_id))
        for i, prompt in enumerate(prompts):
            row = [int(self.inner.bos_token_id), *self._inside(prompt, placeholders or {})][: self.length - 1]
            out[i, : len(row) + 1] = torch.tensor([*row, int(self.inner.eos_token_id)])
        return out

    def _inside(self, prompt: str, placeholders: dict[str, list[int]]) -> list[int]:
        for word, numbers in placeholders.items():
            before, found, after = prompt.partition(word)
            if found:
                return self._inside(before, placeholders) + numbers + self._inside(after, placeholders)
        return list(self.inner(prompt, add_special_tokens=False)["input_ids"])


class VaeCodec:
    """A VAE's latents, scaled as the UNet knows them."""

    def __init__(self, vae: Any, pixels: int):
        self.vae, self.factor = vae, float(vae.config.scaling_factor)
        self.channels = int(vae.config.latent_channels)
        self.side = pixels // 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        """Latents (n, channels, side, side) of pictures 0 to 1: the mode, so that a resumed training is the same."""
        return self.vae.encode((picture * 2 - 1).to(self.vae.dtype)).latent_dist.mode() * self.factor

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Pictures 0 to 1, one at a time, since a decoder at 512 pixels needs the most memory."""
        parts = [self.vae.decode(z[None].to(self.vae.dtype) / self.factor).sample for z in latent]
        return (torch.cat(parts).float().clamp(-1, 1) + 1) / 2


def _loaded(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder - {what} is read from there, as Hugging Face lays it out - correct it")
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        raise UserError(
            f"{folder} does not hold {what} ({type(error).__name__}: {first[0] if first else ''}) - a folder as"
            " Hugging Face lays it out is needed (safetensors for Stable Diffusion) - download it again"
        ) from error


def _weights(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """A model whose every weight was in the folder: the libraries only warn and draw the missing ones at random."""
    model, info = _loaded(kind, folder, what, output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{folder} does not hold {what}: {missing[0]} and {len(missing) - 1} more weights are missing - a folder as"
            " Hugging Face lays it out is needed - download it again"
        )
    return model.eval().requires_grad_(False)


def from_folders(
    sd: Path, clip: Path, dino: Path, precision: str = "fp32", device: str = "cpu", pixels: int = 512, layers: int = 16,
) -> Base:  # fmt: skip
    """Stable Diffusion 1.x with its judges, from folders on this machine; nothing is downloaded or run from them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer, ViTImageProcessor, ViTModel

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    safe = {"use_safetensors": True}
    unet = _weights(UNet2DConditionModel, sd / "unet", "Stable Diffusion's UNet", torch_dtype=dtype, **safe)
    vae = _weights(AutoencoderKL, sd / "vae", "Stable Diffusion's VAE", torch_dtype=dtype, **safe)
    encoder = _weights(CLIPTextModel, sd / "text_encoder", "Stable Diffusion's text encoder", dtype=dtype, **safe)
    tokenizer = FolderTokenizer(sd / "tokenizer")
    judge = _weights(CLIPModel, clip, "CLIP").to(device)
    words = _loaded(CLIPTokenizer, clip, "CLIP's tokenizer")
    eyes = _loaded(CLIPImageProcessor, clip, "CLIP's processor")
    vit = _weights(ViTModel, dino, "DINO", add_pooling_layer=False).to(device)
    vit_eyes = _loaded(ViTImageProcessor, dino, "DINO's processor")

    @torch.no_grad()
    def text_vectors(prompts: Sequence[str]) -> Tensor:
        given = words([PREFIX + p for p in prompts], padding=True, truncation=True, return_tensors="pt").to(device)
        return F.normalize(pooled(judge.get_text_features(**given)), dim=1).cpu()

    @torch.no_grad()
    def picture_vectors(pictures: Tensor) -> Tensor:
        given = eyes([as_image(p) for p in pictures], return_tensors="pt").to(device)
        return F.normalize(pooled(judge.get_image_features(**given)), dim=1).cpu()

    @torch.no_grad()
    def identity_vectors(pictures: Tensor) -> Tensor:
        given = vit_eyes([as_image(p) for p in pictures], return_tensors="pt").to(device)
        return F.normalize(vit(**given).last_hidden_state[:, 0], dim=1).cpu()

    unet, encoder = _prepared(unet.to(device), encoder.to(device), layers)
    vae = vae.to(device)
    about = {"sd": str(sd), "clip": str(clip), "dino": str(dino), "precision": precision, "layers": layers}
    schedule = _schedule(sd / "scheduler")
    return Base(
        unet, encoder, tokenizer, VaeCodec(vae, pixels), schedule, text_vectors, picture_vectors, identity_vectors,
        NEGATIVE, pixels, layers, about, device,
    )  # fmt: skip


def pooled(found: Any) -> Tensor:
    """CLIP's features: a tensor, or in some releases of transformers an output that holds one."""
    return found if isinstance(found, Tensor) else found.pooler_output


def as_image(picture: Tensor) -> Any:
    """A PIL picture of float values 0 to 1, (3, height, width)."""
    from PIL import Image

    return Image.fromarray((picture.float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


_SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")


def _schedule(folder: Path) -> dict[str, Any]:
    from diffusers import DDPMScheduler

    config = _loaded(DDPMScheduler, folder, "the noise schedule").config
    return {name: config[name] for name in _SCHEDULE_KEYS}
