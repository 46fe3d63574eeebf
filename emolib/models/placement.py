"""Which device a model runs on: what a name leads to, and where a large model goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from emolib.errors import InputError

HEADROOM = 0.8
"""The share of a GPU's free memory that weights may take; runs need the rest."""


def find_device(name: str, dtype: str = "float32") -> str:
    """Return torch's name of a device that is there; of ``auto`` cuda, mps or cpu, the first.

    Nothing is put on a GPU to find out: the process that asks may be one that computes nothing.

    Args:
        name: torch's name of a device, or ``auto``.
        dtype: torch's name of the type that is to be computed in.

    Raises:
        InputError: When the device is not there, or does not compute in the type.
    """
    if name == "auto":
        name = _best(dtype)
    if (reason := _why_not(name, dtype)) is not None:
        raise InputError(f"--device {name}: not usable here ({reason}); use cpu")
    return name


def _best(dtype: str) -> str:
    return next((name for name in ("cuda", "mps") if _why_not(name, dtype) is None), "cpu")


def _why_not(name: str, dtype: str) -> str | None:
    """Return why a device cannot be used, in a line; None where it can."""
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError) as error:
        return str(error).splitlines()[0]
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return "torch sees no CUDA GPU"
        if (device.index or 0) >= count:
            return f"torch sees {count} CUDA GPUs, counted from cuda:0"
        return None
    if device.type == "meta":
        return "it holds no numbers"
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            return "torch sees no GPU of Apple's"
        return "it has no float64" if dtype == "float64" else None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        return str(error).splitlines()[0]
    return None


def gpu_count() -> int:
    """Return how many CUDA GPUs this process sees, without a context on any."""
    return torch.cuda.device_count()


def spread(need: int, free: Sequence[int], name: str) -> dict[int, int] | None:
    """Return what each GPU may hold of a model that is too large for the first one.

    Args:
        need: Bytes of its weights.
        free: Free bytes of each GPU that is seen, the one that would be used first.
        name: The model's name, for the message.

    Returns:
        Bytes by index of the GPU; None where the first one holds the model.

    Raises:
        InputError: When all of them together do not.
    """
    most = [int(HEADROOM * bytes_) for bytes_ in free]
    if need <= most[0]:
        return None
    if need > sum(most):
        raise InputError(
            f"model {name!r}: its weights take {need / 1e9:.1f} GB, the {len(free)} GPUs seen "
            f"have room for {sum(most) / 1e9:.1f} GB; let the run see more GPUs (each worker of "
            "-n sees one), take a smaller --dtype, or use --device cpu"
        )
    return dict(enumerate(most))
