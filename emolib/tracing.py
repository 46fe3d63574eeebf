"""Trace and TraceDict: baukit's way to read and edit what a module puts out.

``Trace`` and ``TraceDict`` are upstream's (David Bau, baukit) where it is installed, else the
ones written here, which do the same. `OwnTrace` and `OwnTraceDict` are always the ones written
here; the library's own code uses them, so that its numbers do not depend on what is installed.
They differ from upstream where upstream has traps: a bad path leaves no hook behind, and a
``stop`` whose layer never runs is a clear error.

So it is with what is used beside them: ``subsequence``, ``get_parameter``, ``replace_module``,
``set_requires_grad`` and ``recursive_copy``, and ``own_…`` of each. Here traps are a replaced
module that was not there, bounds of a subsequence in the wrong order, and shared weights, which
stay shared in a copy and have all of their paths.
"""

from __future__ import annotations

import copy
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
                self.input = own_recursive_copy(kept, clone=clone, detach=detach)
            if retain_output:
                self.output = own_recursive_copy(
                    output, clone=clone, detach=detach, retain_grad=retain_grad
                )
                if retain_grad:
                    # A copy goes on, so that later changes in place leave the leaf alone.
                    output = own_recursive_copy(self.output, clone=True)
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


def own_recursive_copy(
    x: Any,
    clone: bool | None = None,
    detach: bool | None = None,
    retain_grad: bool | None = None,
) -> Any:
    """Return a value, with the tensors inside its dicts, lists and tuples as the options ask.

    Args:
        x: A tensor of any shape, None, or dicts, lists and tuples of these.
        clone: Make copies, safe from later changes in place.
        detach: Cut them off from the graph; `retain_grad` goes before.
        retain_grad: Mark the tensors, and copies of them, to keep their gradients.

    Returns:
        `x` itself where nothing is asked for.

    Raises:
        TypeError: When there is something else inside.
    """
    if x is None or not (clone or detach or retain_grad):
        return x
    if isinstance(x, torch.Tensor):
        if detach and not retain_grad:
            x = x.detach()
        if retain_grad:
            _retain_grad(x)
        if clone:
            x = x.clone()
            if retain_grad:
                # It is what is kept, and must get a gradient too.
                _retain_grad(x)
        return x

    def copied(item: Any) -> Any:
        return own_recursive_copy(item, clone=clone, detach=detach, retain_grad=retain_grad)

    if isinstance(x, dict):
        return type(x)({key: copied(item) for key, item in x.items()})
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(copied, x))
    if isinstance(x, (list, tuple)):
        return type(x)([copied(item) for item in x])
    raise TypeError(f"expected tensors, or dicts, lists or tuples of them, got {type(x)}")


def _retain_grad(tensor: torch.Tensor) -> None:
    if not tensor.requires_grad:
        tensor.requires_grad_()
    tensor.retain_grad()


def own_get_parameter(model: nn.Module, name: str) -> nn.Parameter:
    """Return a parameter by its dotted path; a shared one has every path that leads to it.

    Raises:
        LookupError: When there is none; the message names the nearest paths there are.
    """
    try:
        return model.get_parameter(name)
    except AttributeError:
        names = [path for path, _ in model.named_parameters()]
        near = difflib.get_close_matches(name, names, 3, 0.5) or names[:3]
        raise LookupError(
            f"no parameter {name!r} in {type(model).__name__}; the nearest are {', '.join(near)}"
        ) from None


def own_replace_module(model: nn.Module, name: str, new_module: nn.Module) -> None:
    """Put another module in the place of a submodule, for good.

    Args:
        model: The model.
        name: Dotted path of the submodule.
        new_module: What takes its place.

    Raises:
        LookupError: When there is no such submodule, or the path is that of the model itself.
    """
    if not name:
        raise LookupError("expected the path of a submodule, got '', which is the model itself")
    get_module(model, name)
    parent, _, last = name.rpartition(".")
    setattr(get_module(model, parent), last, new_module)


def own_set_requires_grad(requires_grad: bool, *models: nn.Module | torch.Tensor) -> None:
    """Set for all parameters of modules, and for tensors, whether they get gradients.

    Raises:
        TypeError: When one is neither; then nothing is set.
    """
    for model in models:
        if not isinstance(model, (nn.Module, torch.Tensor)):
            raise TypeError(f"expected modules or tensors, got {type(model)}")
    for model in models:
        model.requires_grad_(requires_grad)


def own_subsequence(
    sequential: nn.Module,
    first_layer: str | None = None,
    last_layer: str | None = None,
    after_layer: str | None = None,
    upto_layer: str | None = None,
    single_layer: str | None = None,
    share_weights: bool = False,
) -> nn.Module:
    """Return the layers of a stack of ``Sequential`` between two, as a stack of its own.

    Args:
        sequential: The stack; a bound may lie in a ``Sequential`` inside, by its dotted path.
        first_layer: Begin with this one.
        last_layer: End with this one.
        after_layer: Begin behind this one, in place of `first_layer`.
        upto_layer: End before this one, in place of `last_layer`.
        single_layer: This one alone, in place of the four.
        share_weights: Give the modules themselves, not copies of them.

    Returns:
        The layers under the names they had, in the stack's mode of training; where no bound is
        given all of the stack.

    Raises:
        TypeError: When a bound lies in a module that is no ``Sequential``.
        ValueError: When bounds exclude each other, are in the wrong order or lead nowhere.
    """
    bounds = [first_layer, last_layer, after_layer, upto_layer]
    if single_layer is not None:
        if any(bound is not None for bound in bounds):
            raise ValueError("single_layer goes alone; drop the other bounds, or give two of them")
        first_layer = last_layer = single_layer
    if None not in (first_layer, after_layer) or None not in (last_layer, upto_layer):
        raise ValueError(
            "expected one of first_layer and after_layer, and one of last_layer and upto_layer, "
            "got both; drop one"
        )
    begin = _bound(first_layer, after_layer)
    end = _bound(last_layer, upto_layer)
    part = _between(sequential, begin, end)
    return part if share_weights else copy.deepcopy(part)


_Bound = tuple[list[str], bool]
"""The names down to a layer, and whether the layer itself is in."""


def _bound(inclusive: str | None, exclusive: str | None) -> _Bound | None:
    path = exclusive if inclusive is None else inclusive
    return None if path is None else (path.split("."), inclusive is not None)


def _between(
    module: nn.Module, begin: _Bound | None, end: _Bound | None, above: str = ""
) -> nn.Module:
    """Return a stack of a stack's own layers from one bound to the other.

    Args:
        module: The stack; any module where there is no bound.
        begin: Where to begin, None at its start.
        end: Where to end, None at its end.
        above: Its own path with a dot behind it.
    """
    if begin is None and end is None:
        return module
    if not isinstance(module, nn.Sequential):
        raise TypeError(
            f"expected a Sequential at {above[:-1] or 'the top'}, where a layer is to be found, "
            f"got {type(module).__name__}; bounds may lie in nested Sequentials alone"
        )
    layers = list(module._modules.items())
    names = [name for name, _ in layers]
    first = 0 if begin is None else _index(names, begin, above)
    last = len(names) - 1 if end is None else _index(names, end, above)
    if first > last and None not in (begin, end):
        raise ValueError(
            f"layer {above}{names[first]} comes after {above}{names[last]}; name them in their "
            "order"
        )
    kept = OrderedDict[str, nn.Module]()
    for index in range(first, last + 1):
        name, layer = layers[index]
        at = begin if index == first else None, end if index == last else None
        if layer is None or any(bound is not None and _is_out(bound) for bound in at):
            continue
        inside = _inside(at[0]), _inside(at[1])
        part = _between(layer, *inside, f"{above}{name}.")
        if inside == (None, None) or any(True for _ in part.children()):
            kept[name] = part
    made = nn.Sequential(kept)
    made.training = module.training
    return made


def _index(names: list[str], bound: _Bound, above: str) -> int:
    name = bound[0][0]
    if name not in names:
        raise ValueError(f"layer {above}{name} not found; there are {', '.join(names)}")
    return names.index(name)


def _is_out(bound: _Bound) -> bool:
    """Tell whether the layer that a bound leads to next is left out, all of it."""
    path, included = bound
    return len(path) == 1 and not included


def _inside(bound: _Bound | None) -> _Bound | None:
    """Return a bound as the layer that it leads to next sees it, None where it is that layer."""
    return None if bound is None or len(bound[0]) == 1 else (bound[0][1:], bound[1])


try:
    from baukit import (
        Trace,
        TraceDict,
        get_parameter,
        replace_module,
        set_requires_grad,
        subsequence,
    )
    from baukit.nethook import recursive_copy
except ImportError:
    Trace, TraceDict = OwnTrace, OwnTraceDict
    get_parameter, replace_module = own_get_parameter, own_replace_module
    recursive_copy, set_requires_grad = own_recursive_copy, own_set_requires_grad
    subsequence = own_subsequence
