"""Trace and TraceDict: baukit's way to read and edit what a module puts out.

``Trace`` and ``TraceDict`` are upstream's (David Bau, baukit) where it is installed, else the
ones written here, which do the same. `OwnTrace` and `OwnTraceDict` are always the ones written
here; the library's own code uses them, so that its numbers do not depend on what is installed.
They differ from upstream where upstream has traps: a bad path leaves no hook behind, and a
``stop`` whose layer never runs is a clear error.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class StopForward(Exception):
    """Ends a forward after the layer of a trace with ``stop=True``; the trace catches it."""


def get_module(model: nn.Module, path: str) -> nn.Module:
    """Return a submodule by its dotted path.

    Raises:
        LookupError: When there is none; the message names the nearest paths there are.
    """
    try:
        return model.get_submodule(path)
    except AttributeError:
        names = [name for name, _ in model.named_modules() if name]
        near = difflib.get_close_matches(path, names, 3, 0.5) or names[:3]
        raise LookupError(
            f"no module {path!r} in {type(model).__name__}; the nearest are {', '.join(near)}"
        ) from None


def hook_count(model: nn.Module) -> int:
    """Return how many forward hooks, pre-hooks and backward hooks a model carries."""
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


class _Hooks(ABC):
    """A context whose hooks are there from the start and gone at its end, whatever happens."""

    @abstractmethod
    def close(self) -> None:
        """Remove the hooks."""

    @abstractmethod
    def _stops_after(self) -> OwnTrace | None:
        """Return the trace that stops the forward, None when none does."""

    def __enter__(self) -> Self:
        """Return the trace, or the traces."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Remove the hooks and swallow the `StopForward` of the trace that stops.

        Raises:
            RuntimeError: When the forward was to stop after a layer that never ran.
        """
        self.close()
        last = self._stops_after()
        if last is None:
            return None
        if kind is not None:
            return issubclass(kind, StopForward)
        if not last._ran:
            raise RuntimeError(
                f"stop=True, but {last.layer or 'the module'} never ran, so the forward went on to "
                "its end; run the model inside the context, or trace a layer that it uses"
            )
        return False


class OwnTrace(_Hooks):
    """Reads, and may edit, what one module puts out, while the context is open.

    Attributes:
        output: What the module put out (after the edit) in its latest forward.
        input: What went in: the one positional argument, or the tuple of several.
    """

    output: Any
    input: Any

    def __init__(
        self,
        module: nn.Module,
        layer: str | None = None,
        retain_output: bool = True,
        retain_input: bool = False,
        clone: bool = False,
        detach: bool = False,
        retain_grad: bool = False,
        edit_output: Callable[..., Any] | None = None,
        stop: bool = False,
    ) -> None:
        """Hook the module.

        Args:
            module: The model, or the module itself when `layer` is None.
            layer: Dotted path of the module in the model.
            retain_output: Keep the output.
            retain_input: Keep the input.
            clone: Keep copies, safe from later changes in place.
            detach: Keep them cut off from the graph.
            retain_grad: After ``backward()``, ``output.grad`` is there.
            edit_output: Makes the output anew from as many of ``output, layer, inputs`` as it
                takes; None in return keeps the output. It sees the live tensors: do not change
                them in place.
            stop: End the forward after this module.

        Raises:
            LookupError: When the model has no such module.
            TypeError: When `edit_output` asks for an argument other than those three.
        """
        self.layer, self.stop = layer, stop
        self._ran = False
        target = module if layer is None else get_module(module, layer)
        edit = None if edit_output is None else by_name(edit_output)

        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            self._ran = True
            if edit is not None:
                edited = edit(output=output, layer=layer, inputs=inputs)
                output = output if edited is None else edited
            if retain_input:
                kept = inputs[0] if len(inputs) == 1 else inputs
                self.input = _copied(kept, clone=clone, detach=detach)
            if retain_output:
                self.output = _copied(output, clone=clone, detach=detach, retain_grad=retain_grad)
                if retain_grad:
                    # A copy goes on, so that later changes in place leave the leaf alone.
                    output = _copied(self.output, clone=True)
            if stop:
                raise StopForward
            return output

        self._handles = self._put_on(target, hook)

    def _put_on(self, target: nn.Module, hook: Callable[..., Any]) -> list[RemovableHandle]:
        """Put the hook, a function of (module, inputs, output), on the module."""
        return [target.register_forward_hook(hook)]

    def _stops_after(self) -> OwnTrace | None:
        return self if self.stop else None

    def close(self) -> None:
        """Remove the hook; a second time does nothing."""
        for handle in self._handles:
            handle.remove()


class OwnTraceDict(_Hooks, OrderedDict[str, OwnTrace]):
    """An `OwnTrace` for each of several modules, by path.

    Every option is as in `OwnTrace`, for all modules, or a dict of one value per path. With
    ``stop`` the forward ends after the module that is named last.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Iterable[str] | None = None,
        retain_output: Any = True,
        retain_input: Any = False,
        clone: Any = False,
        detach: Any = False,
        retain_grad: Any = False,
        edit_output: Any = None,
        stop: bool = False,
    ) -> None:
        """Hook the modules, all or, when one cannot be, none.

        Raises:
            LookupError: When the model lacks one of them.
        """
        super().__init__()
        self.stop = stop
        names = list(dict.fromkeys(layers or ()))
        options = {
            "retain_output": retain_output,
            "retain_input": retain_input,
            "clone": clone,
            "detach": detach,
            "retain_grad": retain_grad,
            "edit_output": edit_output,
        }
        try:
            for name in names:
                own: dict[str, Any] = {
                    key: value.get(name) if isinstance(value, dict) else value
                    for key, value in options.items()
                }
                self[name] = OwnTrace(module, name, **own, stop=stop and name == names[-1])
        except BaseException:
            self.close()
            raise

    def _stops_after(self) -> OwnTrace | None:
        return next(reversed(self.values())) if self.stop and self else None

    def close(self) -> None:
        """Remove the hooks; a second time does nothing."""
        for trace in reversed(self.values()):
            trace.close()


def by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of ``output, layer, inputs`` that passes on what `function` takes.

    Arguments go by name; a required one of another name gets the first that is left, an optional
    one keeps its default.
    """
    offered = ("output", "layer", "inputs")
    try:
        taken = list(inspect.signature(function).parameters.values())
    except ValueError:
        # Some builtins, torch.relu among them, do not say what they take.
        return lambda output, layer, inputs: function(output)
    kinds = {p.kind for p in taken}
    taken = [p for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = [p.name for p in taken]
    left = [name for name in offered if name not in names]
    others = [p.name for p in taken if p.default is p.empty and p.name not in offered]
    if len(others) > len(left):
        raise TypeError(
            f"edit_output may take {', '.join(offered)}, got also {', '.join(others[len(left) :])}"
        )
    source = {name: name for name in offered if name in names}
    source |= dict(zip(others, left, strict=False))
    rest = left[len(others) :]
    by_order = [p for p in taken if p.kind is not p.KEYWORD_ONLY]
    by_keyword = [p.name for p in taken if p.kind is p.KEYWORD_ONLY and p.name in source]

    def call(**given: Any) -> Any:
        first = [given[source[p.name]] if p.name in source else p.default for p in by_order]
        named = {name: given[source[name]] for name in by_keyword}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            first += [given[name] for name in rest]
        elif inspect.Parameter.VAR_KEYWORD in kinds:
            named |= {name: given[name] for name in rest}
        return function(*first, **named)

    return call


def _copied(
    value: Any, *, clone: bool = False, detach: bool = False, retain_grad: bool = False
) -> Any:
    """Return a value, or the tensors inside it, as the options ask."""
    if value is None or not (clone or detach or retain_grad):
        return value
    if isinstance(value, torch.Tensor):
        if detach and not retain_grad:
            value = value.detach()
        if clone:
            value = value.clone()
        if retain_grad:
            # After the copy: it is what is kept that must get a gradient.
            if not value.requires_grad:
                value.requires_grad_()
            value.retain_grad()
        return value
    options = {"clone": clone, "detach": detach, "retain_grad": retain_grad}
    if isinstance(value, dict):
        return type(value)({key: _copied(item, **options) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)([_copied(item, **options) for item in value])
    raise TypeError(f"expected tensors, or dicts, lists or tuples of them, got {type(value)}")


try:
    from baukit import Trace, TraceDict
except ImportError:
    Trace, TraceDict = OwnTrace, OwnTraceDict
