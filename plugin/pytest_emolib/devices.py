"""``--device``: checked before anything loads, and a GPU for each worker under ``-n``."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from emolib.inputs.profiles import Profile

_SETTING = "CUDA_VISIBLE_DEVICES"
_SHARED = ("cuda", "auto")
"""The devices that leave it open which GPU; ``cuda:1`` is that one, for every worker."""


def visible(setting: str | None, count: int) -> tuple[str, ...]:
    """Return the GPUs that a process sees, as CUDA_VISIBLE_DEVICES names them.

    Args:
        setting: CUDA_VISIBLE_DEVICES, None where it is not set.
        count: How many torch sees: what stands behind a wrong entry is not seen.
    """
    if setting is None:
        return tuple(map(str, range(count)))
    return tuple(part.strip() for part in setting.split(","))[:count]


def gpu_of(worker: str, gpus: Sequence[str]) -> str | None:
    """Return the GPU of a worker, one after the other; None where there are no several.

    Args:
        worker: Its id, ``gw3``.
        gpus: The GPUs that the caller sees, as `visible` gives them.
    """
    number = re.search(r"\d+$", worker)
    if len(gpus) < 2 or number is None:
        return None
    return gpus[int(number[0]) % len(gpus)]


def deal(worker: str, device: str) -> str | None:
    """Return the GPU that a worker is to see alone, None where it sees what this process sees."""
    if device.partition(":")[0] != "cuda" or ":" in device:
        return None
    from emolib.models.placement import gpu_count

    return gpu_of(worker, visible(os.environ.get(_SETTING), gpu_count()))


def settled(config: pytest.Config, profile: Profile) -> Profile:
    """Return a profile whose device is there, ``auto`` made one; where items run or are planned.

    Raises:
        InputError: When the device is not there.
    """
    if profile.device == "cpu" or config.option.collectonly:
        return profile
    dealt = getattr(config, "workerinput", {}).get("emolib_gpu")
    if dealt is not None and profile.device in _SHARED:
        _take(dealt)
    from emolib.models.placement import find_device

    return dataclasses.replace(profile, device=find_device(profile.device, profile.dtype))


def _take(gpu: str) -> None:
    """Let this process see one GPU alone, before torch looks for them."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        # Too late for the environment: something of the user's has computed there already.
        gpus = visible(os.environ.get(_SETTING), torch.cuda.device_count())
        torch.cuda.set_device(gpus.index(gpu))
    else:
        os.environ[_SETTING] = gpu
