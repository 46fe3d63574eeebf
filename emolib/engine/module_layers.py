"""The layers of a model as transformers' own modules, run one by one on rows of our own.

For architectures whose layers are not taken apart here. What each layer was given in the clean run
is caught, cut to the columns that are computed and repeated for the rows of a prompt; keys and
values of the columns before come in by the cache that its attention asks. Like
`emolib.engine.layers`, it is checked on the model before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emolib.engine.layers import NOTHING, Edits, Input, Keep, KeysValues
from emolib.models.language_model import LanguageModel

_CACHES = ("past_key_values", "past_key_value", "layer_past")


class NotPlaced(ValueError):
    """Something a layer is given, of which it is not known how it goes with tokens and rows."""


@dataclass(frozen=True)
class ModuleInputs:
    """What a layer was given beside the residual stream, for W columns of B prompts.

    Attributes:
        given: By the name of the argument.
        rows: Number of prompts, B.
        width: Number of columns, W.
    """

    given: dict[str, Any]
    rows: int
    width: int

    def of(self, rows: list[int]) -> ModuleInputs:
        """Return what the layer is given of some of the prompts."""
        chosen = {
            name: self._each(name, value, lambda part: part if len(part) == 1 else part[rows])
            for name, value in self.given.items()
        }
        return ModuleInputs(chosen, len(rows), self.width)

    def at(self, columns: slice, count: int) -> dict[str, Any]:
        """Return the arguments for some columns, of `count` rows of each prompt.

        Raises:
            NotPlaced: When an argument is a tensor of a shape that is not known.
        """

        def cut(part: Tensor) -> Tensor:
            mask = part.ndim == 4
            part = part[:, :, columns, : columns.stop] if mask else part[:, columns]
            return part if len(part) == 1 else part.repeat_interleave(count, dim=0)

        made = {name: self._each(name, value, cut) for name, value in self.given.items()}
        if isinstance(place := made.get("cache_position"), Tensor):
            made["cache_position"] = place[columns]
        return made

    def _each(self, name: str, value: Any, change: Callable[[Tensor], Tensor]) -> Any:
        """Return an argument changed, a tensor or a tuple of them."""
        if isinstance(value, (tuple, list)):
            return type(value)(self._each(name, part, change) for part in value)
        if not isinstance(value, Tensor) or name == "cache_position":
            return value
        known = value.ndim >= 2 and value.shape[0] in (1, self.rows)
        mask = value.ndim == 4 and tuple(value.shape[2:]) == (self.width, self.width)
        if not (known and (mask or (value.ndim < 4 and value.shape[1] == self.width))):
            raise NotPlaced(f"{name} of shape {list(value.shape)} is given to its layers")
        return change(value)


class _Cache:
    """What attention asks for the keys and values of earlier tokens, in place of a cache."""

    def __init__(self, count: int, shared: KeysValues | None, keep: Keep | None) -> None:
        self._count, self._shared, self._keep = count, shared, keep
        self.asked = False

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> KeysValues:
        """Return the keys and values that a row's tokens look at, ``[B * k, H_kv, ·, d_head]``."""
        self.asked = True
        rows = key.shape[0] // self._count
        if self._keep is not None:
            split = (part.view(rows, self._count, *part.shape[1:]) for part in (key, value))
            key, value = (part.flatten(0, 1) for part in self._keep(*split))
        if self._shared is None:
            return key, value
        before = [part.repeat_interleave(self._count, dim=0) for part in self._shared]
        return torch.cat([before[0], key], dim=2), torch.cat([before[1], value], dim=2)


class ModuleLayer:
    """One layer of transformers, run on rows of our own; the counterpart of `layers.Layer`."""

    def __init__(self, model: LanguageModel, index: int) -> None:
        """Find the modules."""
        self.root: Any = model.module(f"{model.arch.layers}.{index}")
        self.attention: Any = model.module(model.arch.attn_path(index))
        self._out: Any = model.module(model.attn_out(index))
        # Experts have none.
        path = model.mlp_out(index) if index in model.unit_layers else None
        self._down: Any = None if path is None else model.module(path)

    def step(
        self,
        resid: Tensor,
        inputs: ModuleInputs,
        columns: slice,
        shared: KeysValues | None = None,
        *,
        z: Tensor | None = None,
        last: bool = False,
        crop: bool = False,
        keep: Keep | None = None,
        edits: Edits = NOTHING,
    ) -> tuple[Tensor, Tensor]:
        """Return the residual stream after the layer, and z as it went on.

        The arguments are those of `emolib.engine.layers.Layer.step`.

        Raises:
            NotPlaced: When the layer is given something of which it is not known how it goes
                with tokens and rows, or does not ask for keys and values.
        """
        count, tokens = resid.shape[1], resid.shape[2]
        seen: list[Tensor] = []
        inside = False

        def apart(edit: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
            # An edit may run the model, to read what it needs: that run is not this one.
            nonlocal inside
            inside = True
            try:
                return edit(values)
            finally:
                inside = False

        def edit_z(_: Any, args: tuple[Any, ...]) -> Any:
            if inside:
                return args
            own = args[0].reshape(*resid.shape[:2], tokens, -1)
            there = (own[:, :, -1:] if last else own) if z is None else z
            there = there if edits.z is None else apart(edits.z, there)
            seen.append(there)
            if there.shape[2] < tokens:
                there = torch.cat([own[:, :, : tokens - there.shape[2]], there], dim=2)
            return (there.reshape(args[0].shape), *args[1:])

        def edit_units(_: Any, args: tuple[Any, ...]) -> Any:
            assert edits.units is not None
            if inside:
                return args
            own = args[0].reshape(*resid.shape[:2], tokens, -1)
            there = apart(edits.units, own[:, :, -1:] if last or crop else own)
            if there.shape[2] < tokens:
                there = torch.cat([own[:, :, : tokens - there.shape[2]], there], dim=2)
            return (there.reshape(args[0].shape), *args[1:])

        def noted(what: str) -> Callable[..., None]:
            def note(_: Any, __: Any, output: Any) -> None:
                assert edits.note is not None
                if inside:
                    return
                shaped = output.reshape(*resid.shape[:2], tokens, -1)
                edits.note(what, shaped[:, :, -1:] if last or crop else shaped)

            return note

        given = inputs.at(columns, count)
        cache = _Cache(count, shared, keep)
        if shared is not None or keep is not None:
            given |= {name: cache for name in _CACHES if name in given}
        handles = [self._out.register_forward_pre_hook(edit_z)]
        if edits.units is not None and self._down is not None:
            handles.append(self._down.register_forward_pre_hook(edit_units))
        if edits.note is not None:
            handles.append(self._out.register_forward_hook(noted("attn")))
        if edits.note is not None and self._down is not None:
            handles.append(self._down.register_forward_hook(noted("mlp")))
        with _removed(handles):
            output = self.root(resid.flatten(0, 1), **given)
        if (shared is not None or keep is not None) and not cache.asked:
            raise NotPlaced(f"{type(self.attention).__name__} does not ask for keys and values")
        after = (output[0] if isinstance(output, tuple) else output).view(*resid.shape)
        after = after[:, :, -1:] if last or crop else after
        if edits.stream is not None:
            # A copy: edits are made in place, and it may be a view of what the layer keeps.
            after = apart(edits.stream, after.clone())
        return after, seen[0]

    def reads(
        self,
        ours: Tensor,
        theirs: Tensor,
        inputs: ModuleInputs,
        columns: slice,
        shared: KeysValues | None = None,
    ) -> dict[Input, Tensor]:
        """Return z of all heads, had they read another stream: by all of their inputs alone.

        The arguments are those of `emolib.engine.layers.Layer.reads`.
        """
        return {"all": self.step(ours, inputs, columns, shared)[1]}


@contextmanager
def _removed(handles: list[Any]) -> Iterator[None]:
    """Take hooks off again, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
