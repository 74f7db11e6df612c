"""The network of DARTS (Liu et al. 2019) around two searched cells, in plain torch: CIFAR and ImageNet stems.

    Network(code, channels=36, layers=20, classes=10, auxiliary=True)                    3.35 M weights for DARTS-V2
    Network(code, channels=48, layers=14, classes=1000, auxiliary=True, stem="imagenet")

Weights and multiply-adds are counted without the auxiliary head, as the literature does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from search.spaces.nb301 import decode_cell

NODES = 4  # intermediate nodes of a cell; its output joins all of them
STEM = 3  # the stem has so many times the first cell's channels
LEAST_MAP = 8  # rows of the smallest feature map that the auxiliary head can pool


class FactorizedReduce(nn.Module):
    """Halves the map by two 1x1 convolutions, the second one pixel further."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.first = nn.Conv2d(inside, outside // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(inside, outside - outside // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))


def projection(inside: int, outside: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch norm."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))


def depthwise(channels: int, size: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise and pointwise convolution, batch norm."""
    padding = dilation * (size // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, size, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """One of the seven operations of the space, as DARTS' evaluation network has it."""
    kind, size = name.rsplit("_", 1)[0], int(name[-1]) if name != "skip_connect" else 0
    if kind == "max_pool":
        return nn.MaxPool2d(3, stride, padding=1)
    if kind == "avg_pool":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    if kind == "sep_conv":
        return nn.Sequential(*depthwise(channels, size, stride, 1), *depthwise(channels, size, 1, 1))
    if kind == "dil_conv":
        return nn.Sequential(*depthwise(channels, size, stride, 2))
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


class Cell(nn.Module):
    """One cell: two inputs, four nodes with two operations each, their outputs joined.

    genes: eight pairs (operation, source state).
    before, last: channels of the outputs of the two previous cells.
    """

    def __init__(
        self,
        genes: list[tuple[str, int]],
        before: int,
        last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ):
        super().__init__()
        self.sources = [source for _, source in genes]
        self.first = FactorizedReduce(before, channels) if after_reduction else projection(before, channels)
        self.second = projection(last, channels)
        self.operations = nn.ModuleList(
            operation(name, channels, 2 if reduction and source < 2 else 1) for name, source in genes
        )

    def forward(self, before: torch.Tensor, last: torch.Tensor, drop: float = 0.0) -> torch.Tensor:
        states = [self.first(before), self.second(last)]
        for node in range(NODES):
            edges = (2 * node, 2 * node + 1)
            states.append(sum((self._edge(k, states, drop) for k in edges), start=torch.zeros((), device=last.device)))
        return torch.cat(states[2:], dim=1)

    def _edge(self, k: int, states: list[torch.Tensor], drop: float) -> torch.Tensor:
        out = self.operations[k](states[self.sources[k]])
        if not (self.training and drop > 0) or isinstance(self.operations[k], nn.Identity):
            return out
        keep = torch.empty(len(out), 1, 1, 1, device=out.device, dtype=out.dtype).bernoulli_(1 - drop)
        return out * keep / (1 - drop)


class Auxiliary(nn.Sequential):
    """The classifier at two thirds of the depth, used in training only."""

    def __init__(self, channels: int, classes: int, imagenet: bool):
        norm = [] if imagenet else [nn.BatchNorm2d(768)]  # DARTS left it out for ImageNet by mistake, and kept that
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=2 if imagenet else 3, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *norm,
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(classes),
        )


class Network(nn.Module):
    """Stem, `layers` cells with reductions at one and two thirds, pooling, classifier.

    code: 22 digits, see `search.spaces.nb301`.
    channels: of the first cell; doubled by each reduction.
    stem: 'cifar', 'imagenet' (divides the map by eight) or 'grey' (cifar's with one input channel).
    auxiliary: a second classifier for training; needs a map of at least 8x8 at two thirds of the depth.
    """

    def __init__(
        self, code: str, channels: int, layers: int, classes: int, stem: str = "cifar", auxiliary: bool = False
    ):
        super().__init__()
        normal, reduce = decode_cell(code[:11]), decode_cell(code[11:])
        self.imagenet = stem == "imagenet"
        if self.imagenet:
            half = channels // 2
            self.stem = nn.Sequential(
                nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
                nn.Conv2d(half, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels),
            )  # fmt: skip
            self.deeper = nn.Sequential(
                nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
            )
            before = last = channels
        else:
            before = last = STEM * channels
            self.stem = nn.Sequential(
                nn.Conv2d(1 if stem == "grey" else 3, last, 3, padding=1, bias=False), nn.BatchNorm2d(last)
            )
        self.cells = nn.ModuleList()
        self.auxiliary: nn.Module | None = None
        after_reduction = self.imagenet
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels = 2 * channels if reduction else channels
            genes = reduce if reduction else normal
            self.cells.append(Cell(genes, before, last, channels, reduction, after_reduction))
            before, last, after_reduction = last, NODES * channels, reduction
            if auxiliary and layer == 2 * layers // 3:
                self.auxiliary = Auxiliary(last, classes, self.imagenet)
        self.branch = 2 * layers // 3
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: torch.Tensor, drop: float = 0.0) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(logits, the auxiliary head's logits in training, else None); drop: probability of a dropped path."""
        before = last = self.stem(x)
        if self.imagenet:
            last = self.deeper(before)
        side = None
        for layer, cell in enumerate(self.cells):
            before, last = last, cell(before, last, drop)
            if layer == self.branch and self.auxiliary is not None and self.training:
                side = self.auxiliary(last)
        return self.classifier(last.mean(dim=(2, 3))), side


def build(code: str, size: int, **shape: Any) -> Network:
    """A network ready for pictures of `size` pixels: the auxiliary head's last layer takes its shape from one
    picture.
    """
    network = Network(code, **shape)
    network.train()
    with torch.no_grad():
        picture = torch.zeros(2, 1 if shape.get("stem") == "grey" else 3, size, size)
        network(picture)
    for module in network.modules():  # the trial picture leaves no trace
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return network


def parameters(network: Network) -> int:
    """Number of weights, the auxiliary head not counted."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary"))


def multiply_adds(network: Network, size: int) -> int:
    """Multiply-adds of convolutions and classifier for one picture of `size` pixels."""
    total = 0

    def count(module: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        each = module.weight[0].numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0
        total += out[0].numel() * each

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, next(network.stem.parameters()).shape[1], size, size))
    for hook in hooks:
        hook.remove()
    network.train(training)
    return total
