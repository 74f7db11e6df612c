"""The Conv-LoRA module (Zhong et al. 2024): a low-rank update with a mixture of convolutions at several scales.

For the tokens x of a window (or of the whole picture in a global block), laid out as a map:

    out = W x + b + (alpha / r) B (h + expert(h)),   h = A x

A noisy top-1 gate, fed with the mean of h, chooses one expert a window: expert i enlarges the map i times (bicubic),
applies a 3x3 convolution and GELU, and shrinks it again. The expert's output is not weighted by the gate, so the gate
learns from the load-balance loss alone. alpha stays 32, so the rank changes the step as well.

All matrices are kept at a module's largest rank and sliced to its `rank`: a module cut to rank r computes what one
built with rank r from the same slices computes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

ALPHA = 32.0
BALANCE = 1e-2  # weight of the load-balance loss
LEAST_NOISE = 1e-2  # of the gate, so that its derivative exists
FLAT = 1e-10  # keeps the squared coefficient of variation finite


class ConvLoRA(nn.Module):
    """A frozen linear layer with a Conv-LoRA module beside it. Input and output: (windows, height, width, features).

    base: the frozen layer. largest: the rank of the stored matrices. rank: the rank that is used, at most `largest`.
    balance: the load-balance loss of the last forward pass in training, None otherwise.
    """

    balance: torch.Tensor | None

    def __init__(self, base: nn.Linear, largest: int, experts: int, dice: torch.Generator, drawn: int | None = None):
        """dice: draws A and the kernels for rank `drawn`, of which the first rows are taken: modules of different
        rank then start alike.
        """
        super().__init__()
        drawn = drawn or largest
        self.base, self.largest, self.rank, self.experts = base, largest, largest, experts
        uniform = lambda *shape: 2 * torch.rand(*shape, generator=dice) - 1  # noqa: E731
        # Kaiming-uniform with a = sqrt(5), as torch's own linear and convolution layers begin
        fan_in = 9 * largest
        self.a = nn.Parameter(uniform(drawn, base.in_features)[:largest] / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, largest))
        kernels, biases = uniform(experts, drawn, drawn, 3, 3), uniform(experts, drawn)
        self.kernels = nn.Parameter(kernels[:, :largest, :largest] / math.sqrt(fan_in))
        self.biases = nn.Parameter(biases[:, :largest] / math.sqrt(fan_in))
        self.gate = nn.Parameter(torch.zeros(largest, experts))
        self.noise = nn.Parameter(torch.zeros(largest, experts))
        self.balance = None
        self.to(base.weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r = self.rank
        h = F.linear(x, self.a[:r]).permute(0, 3, 1, 2)
        update = (h + self._experts(h, self._choice(h.mean(dim=(2, 3))))).permute(0, 2, 3, 1)
        return self.base(x) + (ALPHA / r) * F.linear(update, self.b[:, :r])

    def _choice(self, pooled: torch.Tensor) -> torch.Tensor:
        """The expert of each window, int64 (windows,); in training with noise, and the balance loss is kept."""
        clean = pooled @ self.gate[: self.rank]
        if not self.training:
            self.balance = None
            return clean.argmax(dim=1)
        deviation = F.softplus(pooled @ self.noise[: self.rank]) + LEAST_NOISE
        noisy = clean + torch.randn_like(clean) * deviation
        self.balance = BALANCE * balance(clean.float(), noisy.float(), deviation.float())
        return noisy.argmax(dim=1)

    def _experts(self, h: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(h)
        for i in chosen.unique().tolist():
            rows = (chosen == i).nonzero()[:, 0]
            out = out.index_copy(0, rows, self._expert(i, h[rows]).to(out.dtype))
        return out

    def _expert(self, i: int, h: torch.Tensor) -> torch.Tensor:
        factor, size, r = i + 1, h.shape[-2:], self.rank
        kernel, bias = self.kernels[i, :r, :r].to(h.dtype), self.biases[i, :r].to(h.dtype)
        if factor == 1:
            return F.gelu(F.conv2d(h, kernel, bias, padding=1))
        enlarge = [enlarging(n, factor).to(h) for n in size]
        if factor % 2:  # shrinking by an odd factor reads the middle pixel of each square: only these are computed
            middles = [
                m.view(-1, factor, n)[:, factor // 2 - 1 : factor // 2 + 2].flatten(0, 1) for m, n in zip(enlarge, size)
            ]
            return F.gelu(F.conv2d(resized(h, *middles), kernel, bias, stride=3))
        maps = F.gelu(F.conv2d(resized(h, *enlarge), kernel, bias, padding=1))
        return resized(maps, *(shrinking(n, factor).to(h) for n in size))


def resized(h: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """Maps (n, channels, height, width) with their columns and rows mixed by the matrices (new, old) of a resampling.

    Several times faster than torch's bicubic resampling where maps are small and many.
    """
    return ((h @ across.T).transpose(2, 3) @ down.T).transpose(2, 3)


@lru_cache(maxsize=64)
def enlarging(n: int, factor: int) -> torch.Tensor:
    """Bicubic enlargement of a line of n pixels as a matrix, (factor n, n)."""
    return F.interpolate(torch.eye(n)[:, None, :, None], scale_factor=(float(factor), 1.0), mode="bicubic")[
        :, 0, :, 0
    ].T


@lru_cache(maxsize=64)
def shrinking(n: int, factor: int) -> torch.Tensor:
    """Bicubic shrinking to a line of n pixels as a matrix, (n, factor n)."""
    return F.interpolate(torch.eye(n * factor)[:, None, :, None], size=(n, 1), mode="bicubic")[:, 0, :, 0].T


def balance(clean: torch.Tensor, noisy: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """How unevenly a noisy top-1 gate uses its experts: CV^2(importance) + CV^2(load) (Shazeer et al. 2017).

    clean, noisy, deviation: (windows, experts). Load: the probability, over the noise, that an expert is chosen.
    """
    if clean.shape[1] < 2:
        return clean.new_zeros(())
    first, second = noisy.topk(2, dim=1).values.unbind(1)
    chosen = F.one_hot(noisy.argmax(dim=1), clean.shape[1])
    to_beat = torch.where(chosen.bool(), second[:, None], first[:, None])
    load = torch.special.ndtr((clean - to_beat) / deviation).sum(dim=0)
    return _uneven(chosen.sum(dim=0).to(load.dtype)) + _uneven(load)


def _uneven(used: torch.Tensor) -> torch.Tensor:
    return used.var() / (used.mean() ** 2 + FLAT)
