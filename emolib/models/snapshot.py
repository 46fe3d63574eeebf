"""What a model was when it was loaded, and what others have put on it since.

Numbers of a model that carries somebody's hooks are not those of the model: they must not be
taken for them, now or later. `Snapshot` tells what is not as it was, by name: hooks, forwards
that were replaced, modules and weights that were exchanged or edited in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from emolib.errors import InputError

LABEL = "__emolib_place__"
"""Attribute of a hook with the name that it goes by in messages and provenance."""

_HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
_OF_ALL = {
    "_global_forward_hooks": "forward hook",
    "_global_forward_pre_hooks": "forward pre-hook",
    "_global_backward_hooks": "backward hook",
    "_global_backward_pre_hooks": "backward pre-hook",
}


@dataclass(frozen=True)
class Change:
    """One thing about a model that is not as it was loaded.

    Attributes:
        what: What it is and where, ``forward hook on transformer.h.2``.
        identity: What tells it from another of the same description.
        lifts: Whether it can be taken off for a while.
    """

    what: str
    identity: int
    lifts: bool = True

    def __str__(self) -> str:
        """Return what it is and where."""
        return self.what


class Snapshot:
    """A model's modules, hooks, forwards and weights as they are now."""

    def __init__(self, hf: nn.Module) -> None:
        """Note them down; of the weights, which tensors they are and how often they were edited."""
        self._hf = hf
        self._modules = dict(_named(hf))
        self._hooks = {
            (id(module), kind): frozenset(getattr(module, kind))
            for module in self._modules.values()
            for kind in _HOOKS
        }
        self._everywhere = {kind: frozenset(_everywhere(kind)) for kind in _OF_ALL}
        self._forwards = {id(module): _own_forward(module) for module in self._modules.values()}
        self._classes = {type(module): _forward_of(module) for module in self._modules.values()}
        # The tensors too, so that no other can come by the id of one of them.
        self._weights = {name: (w, _edits(w)) for name, w in hf.named_parameters()}
        self._marks = self._marked()
        self._values: dict[str, tuple[str, ...]] = {}
        self._told: dict[str, None] = {}

    def _marked(self) -> list[tuple[Any, ...]]:
        """Return all that `changes` looks at, without names: what is compared at every run."""
        marks: list[tuple[Any, ...]] = [tuple(map(tuple, map(_everywhere, _OF_ALL)))]
        for module in self._hf.modules():
            of = module.__dict__
            hooks = [tuple(of[kind]) for kind in _HOOKS if of[kind]]
            children = [id(child) for child in of["_modules"].values()]
            weights = [(id(w), _edits(w)) for w in of["_parameters"].values() if w is not None]
            forwards = id(of.get("forward")), id(_forward_of(module))
            marks.append((id(module), *forwards, *hooks, *children, *weights))
        return marks

    def changes(self) -> tuple[Change, ...]:
        """Return what is not as it was, in the order of the modules; empty where all is.

        Weights that are edited through ``.data`` do not show here: torch does not count such
        edits. `unseen_edits` finds them.
        """
        if self._marked() == self._marks:
            return ()
        found = tuple([*self._of_modules(), *self._of_weights()])
        self._told |= dict.fromkeys(map(str, found))
        return found

    def begin(self, *, values: bool = True) -> None:
        """Forget what was told so far, and note the values of the weights as they are now.

        Args:
            values: Whether to; else `unseen_edits` finds nothing.
        """
        self._values, self._told = values_of(self._hf) if values else {}, {}

    def told(self) -> list[str]:
        """Return all changes there were since `begin` while anything asked, or are now."""
        self.changes()
        return list(self._told)

    def unseen_edits(self) -> list[str]:
        """Return the weights whose values moved since `begin` and of which `changes` says nothing.

        What is compared are sums over one row and one column of every matrix: an edit of a
        head, of a unit or of a whole matrix changes them.
        """
        seen = {what.split()[2] for what in map(str, self._of_weights())}
        return [name for name in self._moved() if name not in seen]

    def left(self) -> list[str]:
        """Return what is there that was not when the model was loaded, by name.

        Weights that were edited in place and have the values that they had at `begin` are as
        they were.
        """
        moved = self._moved()
        lasting = [str(change) for change in self.changes()]
        same = [name for name in self._values if name not in moved]
        back = {f"weights of {name} edited in place" for name in same}
        unseen = [f"weights of {name} edited through .data" for name in self.unseen_edits()]
        return [*(what for what in lasting if what not in back), *unseen]

    def _moved(self) -> list[str]:
        if not self._values:
            return []
        now = values_of(self._hf)
        return [name for name, known in self._values.items() if now.get(name) != known]

    def _of_modules(self) -> Iterator[Change]:
        for kind, what in _OF_ALL.items():
            for key in _everywhere(kind).keys() - self._everywhere[kind]:
                yield Change(f"{what} on every module", key, lifts=False)
        seen: set[type] = set()
        for name, module in _named(self._hf):
            if (known := self._modules.get(name)) is not module:
                said = "another module than was loaded" if known is not None else "a new module"
                yield Change(f"{said} at {name}", id(module), lifts=False)
            for kind, what in _HOOKS.items():
                of_module = getattr(module, kind)
                if not of_module:
                    continue
                for key in of_module.keys() - self._hooks.get((id(module), kind), frozenset()):
                    if _only_records(of_module[key]):
                        continue
                    label = getattr(of_module[key], LABEL, None)
                    yield Change(label or f"{what} on {name or 'the model'}", key)
            forward = _own_forward(module)
            if forward is not self._forwards.get(id(module)):
                yield Change(f"forward of {name or 'the model'} replaced", id(forward))
            if type(module) not in seen:
                seen.add(type(module))
                now = _forward_of(module)
                if now is not self._classes.get(type(module), now):
                    said = f"forward of every {type(module).__name__} replaced"
                    yield Change(said, id(now), lifts=False)

    def _of_weights(self) -> Iterator[Change]:
        found = dict(self._hf.named_parameters())
        for name, weight in found.items():
            known, edits = self._weights.get(name, (None, 0))
            if known is not weight or edits != _edits(weight):
                said = "edited in place" if known is weight else "replaced"
                what = f"weights of {name} {said}"
                yield Change(what, hash((id(weight), _edits(weight))), lifts=False)
        for name in self._weights.keys() - found.keys():
            yield Change(f"weights of {name} taken away", 0, lifts=False)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Take hooks and forwards of others off while the context is open.

        Raises:
            InputError: When something was done to the model that cannot be undone for a while.
        """
        changes = self.changes()
        if not changes:
            yield
            return
        if lasting := [change for change in changes if not change.lifts]:
            raise InputError(
                f"this run was asked for when the model was as it was loaded, and can no longer be "
                f"made: {lasting[0]}; read what it says before that"
            )
        undo: list[Callable[[], None]] = []
        try:
            for module in self._hf.modules():
                for kind in _HOOKS:
                    of_module: dict[int, Any] = getattr(module, kind)
                    own = self._hooks.get((id(module), kind), frozenset())
                    if of_module.keys() - own:
                        undo.append(_putting_back(of_module, dict(of_module)))
                        for key in of_module.keys() - own:
                            del of_module[key]
                forward, known = _own_forward(module), self._forwards.get(id(module))
                if forward is not known:
                    undo.append(_putting_back(module.__dict__, {"forward": forward}))
                    _set_forward(module, known)
            yield
        finally:
            for step in reversed(undo):
                step()


def _putting_back(of: dict[Any, Any], content: dict[Any, Any]) -> Callable[[], None]:
    """Return the function that gives a dict its content again, in its order."""

    def put_back() -> None:
        if set(content) == {"forward"}:
            if content["forward"] is None:
                of.pop("forward", None)
            else:
                of["forward"] = content["forward"]
            return
        of.clear()
        of.update(content)

    return put_back


def _set_forward(module: nn.Module, forward: Any) -> None:
    if forward is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = forward


def values_of(hf: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return per weights of a model the sums over their first row and their first column."""
    names, sums = [], []
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            if weight.numel():
                flat = weight.detach()
                flat = flat.reshape(-1, flat.shape[-1]) if flat.ndim else flat.reshape(1, 1)
                names.append(name)
                ends = flat[0].sum(dtype=torch.float64), flat[:, 0].sum(dtype=torch.float64)
                sums.append(torch.stack(ends).cpu())
    # As text: a sum that is no number equals itself.
    table = torch.stack(sums).tolist() if sums else []
    return {name: tuple(map(float.hex, row)) for name, row in zip(names, table, strict=True)}


def _named(hf: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield from hf.named_modules(remove_duplicate=False)


def _edits(tensor: torch.Tensor) -> int:
    """Return how often torch has counted an edit in place."""
    # Tensors made under inference_mode have no count and cannot be edited outside it.
    return 0 if tensor.is_inference() else tensor._version


def _only_records(hook: Any) -> bool:
    """Tell whether a hook is one that transformers leaves behind, which changes nothing."""
    return str(getattr(hook, "__module__", "")) == "transformers.utils.output_capturing"


def _own_forward(module: nn.Module) -> Any:
    """Return the forward that a module has of its own, None where it has its class's."""
    return module.__dict__.get("forward")


def _forward_of(module: nn.Module) -> Any:
    return type(module).forward


def _everywhere(kind: str) -> Any:
    return getattr(torch_modules, kind)
