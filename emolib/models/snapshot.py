"""What a model was when it was loaded, and what others have put on it since.

Numbers of a model that carries somebody's hooks are not those of the model: they must not be
taken for them, now or later. `Snapshot` tells what is not as it was, by name: hooks, forwards
that were replaced, modules, weights and buffers that were exchanged or edited in place, training
mode, autocast. Out of its reach are attributes of modules (``norm.eps``), functions of
transformers that are patched, and edits through ``.data``, which torch does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
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
_GLOBAL_HOOKS = {f"_global{kind}": what for kind, what in _HOOKS.items()}


@dataclass(frozen=True)
class Change:
    """One thing about a model that is not as it was loaded.

    Attributes:
        what: What it is and where, ``forward hook on transformer.h.2``.
        identity: What tells it from another of the same description.
        can_be_lifted: Whether it can be taken off for a while.
        weights: The name of the weights that it is about, empty where it is about none.
    """

    what: str
    identity: Any
    can_be_lifted: bool = True
    weights: str = ""

    def __str__(self) -> str:
        """Return what it is and where."""
        return self.what


class _Mark(NamedTuple):
    """All of one module that is compared. Objects are held, so that none can come by their ids."""

    module: nn.Module
    kind: type
    forward: Any
    class_forward: Any
    training: bool
    hooks: tuple[tuple[tuple[int, Any], ...], ...]
    children: tuple[Any, ...]
    tensors: tuple[tuple[int, int, int, Any], ...]


class Snapshot:
    """A model's modules, hooks, forwards and weights as they are now."""

    def __init__(self, hf: nn.Module) -> None:
        """Note them down; of the weights, which tensors they are and how often they were edited."""
        self._hf = hf
        self._everywhere = _everywhere()
        self._marks = [_mark(module) for module in hf.modules()]
        self._named = dict(hf.named_modules())
        self._of = {id(mark.module): mark for mark in self._marks}
        self._tensors = dict(_tensors(hf))
        self._states = {name: _state(tensor) for name, tensor in self._tensors.items()}
        self._values: dict[str, str] = {}
        self._last_read: dict[str, str] = {}
        self._told: dict[str, None] = {}

    def changes(self) -> tuple[Change, ...]:
        """Return what is not as it was, in the order of the modules; empty where all is."""
        around = _everywhere() == self._everywhere and not _is_autocast()
        if around and all(map(_is_as, self._marks)):
            return ()
        now = [_mark(module) for module in self._hf.modules()]
        found = [*self._global(), *self._of_modules(), *self._of_tensors()]
        if not found:
            if [m._replace(tensors=()) for m in now] == [
                m._replace(tensors=()) for m in self._marks
            ]:
                # Weights that were edited and put back.
                self._marks = now
                return ()
            found = [Change("something else than was loaded", None, can_be_lifted=False)]
        self._told |= dict.fromkeys(map(str, found))
        return tuple(found)

    def _global(self) -> Iterator[Change]:
        if _is_autocast():
            yield Change("autocast", True, can_be_lifted=False)
        now = _everywhere()
        for (_, what), before, after in zip(
            _GLOBAL_HOOKS.items(), self._everywhere, now, strict=True
        ):
            for key in {*before, *after} - ({*before} & {*after}):
                yield Change(f"{what} on every module", key, can_be_lifted=False)

    def _of_modules(self) -> Iterator[Change]:
        said: set[type] = set()
        for name, module in self._hf.named_modules():
            where = name or "the model"
            known, now = self._of.get(id(module)), _mark(module)
            if known is None or self._named.get(name) is not module:
                yield Change(f"another module at {where}", now.module, can_be_lifted=False)
            if known is None:
                continue
            if now.kind is not known.kind:
                yield Change(f"class of {where} replaced", now.kind, can_be_lifted=False)
            elif now.class_forward is not known.class_forward and now.kind not in said:
                said.add(now.kind)
                what = f"forward of every {now.kind.__name__} replaced"
                yield Change(what, now.class_forward, can_be_lifted=False)
            if now.forward is not known.forward:
                yield Change(f"forward of {where} replaced", now.forward)
            if now.training != known.training and known.module is self._hf:
                yield Change("training mode", now.training, can_be_lifted=False)
            elif now.training != known.training and not self._hf.training:
                yield Change(f"training mode of {where}", now.training, can_be_lifted=False)
            for what, before, after in zip(_HOOKS.values(), known.hooks, now.hooks, strict=True):
                yield from _hooks_that_differ(f"{what} on {where}", before, after)

    def _of_tensors(self) -> Iterator[Change]:
        found = dict(_tensors(self._hf))
        for name, tensor in found.items():
            known, state = self._tensors.get(name), _state(tensor)
            if known is tensor and self._states[name] == state:
                continue
            if known is tensor and name in self._values and self._values[name] == _value(tensor):
                # Edited, and put back to what it was when the item began.
                self._states[name] = state
                continue
            what = f"weights of {name} {'edited in place' if known is tensor else 'replaced'}"
            yield Change(what, (id(tensor), state), can_be_lifted=False, weights=name)
        for name in self._tensors.keys() - found.keys():
            yield Change(f"weights of {name} taken away", None, can_be_lifted=False, weights=name)

    def begin(self, *, values: bool = True) -> None:
        """Forget what was told so far, and note the values of the weights as they are now.

        Args:
            values: Whether to; else `unseen_edits` finds nothing. Where they were read when the
                last item ended they are not read again: of a large model that takes seconds.
        """
        self._values = (self._last_read or self._read()) if values else {}
        self._last_read = {}
        self._told = {}

    def _read(self) -> dict[str, str]:
        return {name: _value(tensor) for name, tensor in _tensors(self._hf)}

    def told(self) -> list[str]:
        """Return all changes there were since `begin` while anything asked, or are now."""
        self.changes()
        return list(self._told)

    def unseen_edits(self) -> list[str]:
        """Return the weights whose values moved since `begin` and of which `changes` says nothing.

        What is compared is a projection of all values of each.
        """
        seen = {change.weights for change in self.changes()}
        self._last_read = now = self._read() if self._values else {}
        return [
            name
            for name, value in now.items()
            if name not in seen and self._values.get(name) != value
        ]

    def left(self) -> list[str]:
        """Return what is there that was not when the model was loaded, by name."""
        unseen = [f"weights of {name} edited through .data" for name in self.unseen_edits()]
        return [*map(str, self.changes()), *unseen]

    @contextmanager
    def lifted(self, what: str = "what is asked for", *, tell: bool = True) -> Iterator[None]:
        """Take hooks and forwards of others off while the context is open.

        Args:
            what: What needs the model as it was loaded, for the message.
            tell: Whether what is found counts as `told`: not where it may be our own edits.

        Raises:
            InputError: When something was done to the model that cannot be undone for a while.
        """
        told = dict(self._told)
        changes = self.changes()
        if not tell:
            self._told = told
        if not changes:
            yield
            return
        if lasting := [change for change in changes if not change.can_be_lifted]:
            raise InputError(
                f"{what} needs the model as it was loaded, and cannot be had: {lasting[0]}; ask "
                "for it before that"
            )
        undo: list[Callable[[], None]] = []
        try:
            for mark in self._marks:
                module = mark.module
                for kind, own in zip(_HOOKS, mark.hooks, strict=True):
                    hooks: dict[int, Any] = getattr(module, kind)
                    if tuple(hooks.items()) != own:
                        undo.append(_refill(hooks, dict(hooks)))
                        _refill(hooks, dict(own))()
                if (forward := own_forward(module)) is not mark.forward:
                    undo.append(_forward_back(module, forward))
                    _forward_back(module, mark.forward)()
            yield
        finally:
            for step in reversed(undo):
                step()


def _hooks_that_differ(
    what: str, before: tuple[tuple[int, Any], ...], after: tuple[tuple[int, Any], ...]
) -> Iterator[Change]:
    for key, hook in after:
        if (key, hook) not in before:
            label = getattr(hook, LABEL, None)
            yield Change(label or what, (key, hook))
    for key, hook in before:
        if (key, hook) not in after:
            yield Change(f"{what} taken away", (key, hook))


def _mark(module: nn.Module) -> _Mark:
    of = module.__dict__
    tensors = [*of["_parameters"].values(), *_buffers(module)]
    return _Mark(
        module,
        type(module),
        own_forward(module),
        type(module).forward,
        of["training"],
        tuple(_plain_hooks(of[kind]) for kind in _HOOKS),
        tuple(of["_modules"].values()),
        tuple((id(t), *_state(t)) for t in tensors if t is not None),
    )


def _is_as(mark: _Mark) -> bool:
    """Tell whether `_mark` would say the same of its module, without saying it.

    It is asked several times an item of every module, nearly always to find nothing.
    """
    module = mark.module
    of = module.__dict__
    if (
        type(module) is not mark.kind
        or mark.kind.forward is not mark.class_forward
        or of["training"] != mark.training
        or ("forward" in of and own_forward(module) is not mark.forward)
        or ("forward" not in of and mark.forward is not None)
        or len(of["_modules"]) != len(mark.children)
    ):
        return False
    for kind, own in zip(_HOOKS, mark.hooks, strict=True):
        if (of[kind] or own) and _plain_hooks(of[kind]) != own:
            return False
    if any(a is not b for a, b in zip(of["_modules"].values(), mark.children, strict=True)):
        return False
    buffers = _buffers(module) if of["_buffers"] else ()
    tensors = [t for t in (*of["_parameters"].values(), *buffers) if t is not None]
    return len(tensors) == len(mark.tensors) and all(
        (id(tensor), *_state(tensor)) == known
        for tensor, known in zip(tensors, mark.tensors, strict=True)
    )


def _plain_hooks(hooks: dict[int, Any]) -> tuple[tuple[int, Any], ...]:
    """Return hooks, less those that transformers leaves behind to record outputs."""
    if not hooks:
        return ()
    recorder = "transformers.utils.output_capturing"
    return tuple(
        (key, hook) for key, hook in hooks.items() if getattr(hook, "__module__", "") != recorder
    )


def _buffers(module: nn.Module) -> list[Any]:
    # Rotary positions that depend on the length are registered anew in the forward.
    kinds = str(getattr(module, "rope_type", ""))
    if "dynamic" in kinds or "longrope" in kinds:
        return []
    return list(module.__dict__["_buffers"].values())


def _tensors(hf: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from hf.named_parameters()
    for name, module in hf.named_modules():
        for own, buffer in module.__dict__["_buffers"].items():
            if buffer is not None and any(buffer is b for b in _buffers(module)):
                yield f"{name}.{own}" if name else own, buffer


def _state(tensor: Tensor) -> tuple[int, int, torch.dtype]:
    """Return how often torch has counted an edit in place, where the values lie, and their type."""
    # Tensors made under inference_mode have no count and cannot be edited outside it.
    edits = 0 if tensor.is_inference() else tensor._version
    return edits, tensor.data_ptr(), tensor.dtype


@torch.no_grad()
def _value(tensor: Tensor) -> str:
    """Return a projection of all values, as text: a sum that is no number equals itself."""
    if not tensor.numel() or not tensor.is_floating_point():
        return str(tensor.detach().sum().item())
    flat = tensor.detach().reshape(-1, tensor.shape[-1] if tensor.ndim else 1)
    rows, columns = (
        torch.cos(torch.arange(size, dtype=torch.float64)).to(flat) for size in flat.shape
    )
    return float(rows @ (flat @ columns)).hex()


def _refill(hooks: dict[int, Any], content: dict[int, Any]) -> Callable[[], None]:
    """Return the function that gives a dict of hooks its content again, in its order."""

    def refill() -> None:
        hooks.clear()
        hooks.update(content)

    return refill


def _forward_back(module: nn.Module, forward: Any) -> Callable[[], None]:
    """Return the function that gives a module its own forward again, or none where it had none."""

    def back() -> None:
        if forward is None:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = forward

    return back


def _is_autocast() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def own_forward(module: nn.Module) -> Any:
    """Return the forward that a module has of its own, None where it has its class's.

    A class's that was put back as one of the module's own does the same.
    """
    forward = module.__dict__.get("forward")
    is_class_s = getattr(forward, "__func__", None) is type(module).forward
    return None if is_class_s and getattr(forward, "__self__", None) is module else forward


def _everywhere() -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(getattr(torch_modules, kind)) for kind in _GLOBAL_HOOKS)
