"""What tasks that train something share: devices, process groups, checkpoints, locks, cache keys and progress."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import UserError
from search.files import check_own, file_lock, write_atomic

if TYPE_CHECKING:
    import torch


def key(*parts: Any) -> str:
    """16 hex digits of what something is made from."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes what the cache lacks; the others wait and then find it."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_own(folder)  # of a folder that may hold checkpoints
            stack.enter_context(file_lock(folder / ".lock"))
        except OSError as error:
            why = f"the cache folder {folder} cannot be written ({error.strerror})"
            raise UserError(
                f"{why} - it keeps what a task has trained - set LMSEARCHER_CACHE to a writable folder"
            ) from error
        yield


def device_name(device: str) -> str:
    """The processor or GPU that latency is measured on, with the number of threads."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def first_process() -> bool:
    """Whether this process speaks for all that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Place:
    """Where this process runs: its rank among `world` processes and its device."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"


def open_place(device: str = "auto") -> Place:
    """Join the process group that `torchrun` announces (gloo on CPUs, nccl on GPUs); alone otherwise."""
    import torch

    rank, world, local = (
        int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if device == "auto":
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"device {device} was given - this machine has no CUDA GPU that torch can use - use --device cpu"
        )
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    return Place(rank, world, device)


def close_place(place: Place) -> None:
    """Leave the process group."""
    import torch

    if place.world > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def total_of(value: float, place: Place) -> float:
    """The sum of a number over all processes."""
    import torch

    if place.world == 1:
        return value
    box = torch.tensor(
        [float(value)], dtype=torch.float64 if place.device == "cpu" else torch.float32, device=place.device
    )
    torch.distributed.all_reduce(box)
    return float(box)


def sum_gradients(model: torch.nn.Module, place: Place) -> None:
    """One all-reduce over the gradients there are; every process ran the same sub-transformer, so they agree which."""
    import torch

    if place.world > 1:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        torch.distributed.all_reduce(flat)
        for g, part in zip(grads, flat.split([g.numel() for g in grads])):
            g.copy_(part.view_as(g))


def write_checkpoint(path: Path, content: dict) -> None:
    """Save a checkpoint whole or not at all."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def checkpoints(out: Path) -> list[tuple[int, Path]]:
    """(update, file) of every saved set of weights, oldest first."""
    return sorted((int(p.stem.split("-")[1]), p) for p in Path(out).glob("update-*.pt"))


def read_checkpoint(path: Path) -> dict:
    """A checkpoint as saved; UserError if it cannot be read."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"checkpoint {path} cannot be read ({type(error).__name__}) - it must be one that this package saved -"
            " delete it to train again"
        ) from error


def begun(out: Path | None, about: Mapping[str, Any]) -> dict | None:
    """The last.pt of a training that was begun in a folder, None without one; UserError when it is another training.

    about: what the checkpoint must say of itself, by its own keys.
    """
    last = out / "last.pt" if out is not None else None
    if last is None or not last.exists():
        return None
    saved = read_checkpoint(last)
    differ = [k for k, v in about.items() if saved.get(k) != v]
    if differ:
        raise UserError(
            f"{out} holds a training with another {', '.join(differ)} - one folder keeps one - choose another --out"
        )
    return saved


def update_bar(total: int, initial: int, visible: bool, unit: str = "update") -> Any:
    """A progress bar over updates (or epochs), for standard error."""
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, disable=not visible, unit=unit, mininterval=1.0, dynamic_ncols=True)
