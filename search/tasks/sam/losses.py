"""Losses of a mask: the structure loss (all data sets but shadows) and balanced cross-entropy (shadows).

Both take logits and masks, (n, height, width), and return a mean over the pictures.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

BORDER = 31  # pixels of the neighbourhood that says how near a border is, at 1024 pixels a side as at any other
WEIGHT = 5.0  # how much more a pixel at the border counts


def structure(
    logits: torch.Tensor, masks: torch.Tensor, weighted_bce: bool = False, border: int = BORDER
) -> torch.Tensor:
    """Cross-entropy plus weighted soft IoU; pixels near the mask's border weigh up to 6 times as much (F3Net).

    weighted_bce: weigh the cross-entropy too. In the published code a legacy argument makes it a plain mean.
    """
    half = border // 2
    near = F.avg_pool2d(masks[:, None], (border, 1), stride=1, padding=(half, 0))  # columns, then rows: the same mean
    near = F.avg_pool2d(near, (1, border), stride=1, padding=(0, half))[:, 0]
    weight = 1 + WEIGHT * (near - masks).abs()
    cross = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    cross = (weight * cross).sum((1, 2)) / weight.sum((1, 2)) if weighted_bce else cross.mean((1, 2))
    share = logits.sigmoid()
    inside = (share * masks * weight).sum((1, 2))
    either = ((share + masks) * weight).sum((1, 2))
    return (cross + 1 - (inside + 1) / (either - inside + 1)).mean()


def balanced(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which the foreground and the background of a batch weigh by the other's share of its pixels."""
    positive = masks.mean()
    weight = torch.where(masks > 0.5, 1 - positive, positive)
    return (weight * F.binary_cross_entropy_with_logits(logits, masks, reduction="none")).mean()
