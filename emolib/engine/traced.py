"""Traces on a model at places that have the same name in every architecture.

| place | what it is | shape |
|---|---|---|
| ``resid:2`` | the residual stream after layer 2 | ``[batch, seq, d_model]`` |
| ``attn:2`` | what the attention of layer 2 adds to it | ``[batch, seq, d_model]`` |
| ``z:2`` | what its heads read, before the output projection | ``[batch, seq, n_heads, d_head]`` |
| ``mlp:2`` | what its MLP adds | ``[batch, seq, d_model]`` |
| ``units:2`` | the activations of its MLP units | ``[batch, seq, n_units]`` |

Any other text is the path of a module, whose output is traced as it is. Prompts are padded on the
left, so that ``[:, -1]`` is the last token; after a prompt every generated token comes by itself,
with ``seq`` 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from emolib.engine.hooked import split_heads
from emolib.errors import InputError
from emolib.models.language_model import LanguageModel
from emolib.models.snapshot import LABEL
from emolib.tracing import OwnTrace, by_name

KINDS = ("resid", "attn", "z", "mlp", "units")
_INPUTS = ("z", "units")
_PLACE = re.compile(rf"({'|'.join(KINDS)}):(\d+)")


class PlacedTrace(OwnTrace):
    """A trace at a place of a model, or on a module of it; see `traced`."""

    def __init__(
        self,
        model: LanguageModel,
        place: str,
        *,
        edit_output: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        """Put the trace on.

        Raises:
            InputError: When the model has no such place.
        """
        match = _PLACE.fullmatch(place)
        self.place, self._model = place, model
        self._kind, self._layer = (match[1], int(match[2])) if match else ("", 0)
        self._rows = 0
        self._edits = edit_output is not None
        edit = None if edit_output is None or not match else self._checked(edit_output)
        super().__init__(model.hf, self._path(), edit_output=edit or edit_output, **options)

    def _checked(self, edit_output: Callable[..., Any]) -> Callable[..., Any]:
        """Return the edit with its result checked: places have one shape."""
        edit = by_name(edit_output)

        def checked(output: Tensor, layer: str, inputs: Any) -> Tensor | None:
            made = edit(output=output, layer=layer, inputs=inputs)
            if made is None or (isinstance(made, Tensor) and made.shape == output.shape):
                return made
            got = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise InputError(
                f"traced({self.place!r}): edit_output must return a tensor of the shape it got, "
                f"{list(output.shape)}, got {got}"
            )

        return checked

    def _path(self) -> str:
        model, kind, layer = self._model, self._kind, self._layer
        if not kind:
            if not self.place or self.place not in dict(model.hf.named_modules()):
                raise InputError(
                    f"traced({self.place!r}): {model.name} has no such place; expected "
                    f"{', '.join(f'{known}:LAYER' for known in KINDS)} or the path of a module, "
                    f"as {model.attn_out(model.head_layers[0])}"
                )
            return self.place
        if layer >= model.n_layers:
            raise InputError(
                f"traced({self.place!r}): layer {layer} does not exist, {model.name} has "
                f"{model.n_layers} layers, counted from 0"
            )
        if kind == "resid":
            return f"{model.arch.layers}.{layer}"
        if kind in ("attn", "z"):
            norm, projection = model.post_attn_norm(layer), model.attn_out(layer)
        else:
            norm, projection = model.post_mlp_norm(layer), model.mlp_out(layer)
        return projection if kind in _INPUTS else norm or projection

    def _put_on(self, target: nn.Module, hook: Callable[..., Any]) -> list[RemovableHandle]:
        def on_output(module: nn.Module, inputs: Any, output: Any) -> Any:
            if not self._kind:
                return hook(module, inputs, output)
            # The blocks of some architectures put out a tuple, the stream first.
            first, *rest = output if isinstance(output, tuple) else (output,)
            made = hook(module, inputs, self._shaped(first)).reshape(first.shape).to(first)
            return (made, *rest) if isinstance(output, tuple) else made

        def on_input(module: nn.Module, inputs: Any) -> Any:
            z, *rest = inputs
            return (hook(module, inputs, self._shaped(z)).reshape(z.shape).to(z), *rest)

        def count(_: nn.Module, inputs: Any, options: dict[str, Any]) -> None:
            stream = inputs[0] if inputs else options["hidden_states"]
            self._rows = len(stream)

        for made in (on_output, on_input, count):
            setattr(made, LABEL, f"traced {self.place}")
        if self._kind not in _INPUTS:
            handles = [target.register_forward_hook(on_output)]
        else:
            handles = [target.register_forward_pre_hook(on_input)]
        if self._kind in ("mlp", "units"):
            block = self._model.module(f"{self._model.arch.layers}.{self._layer}")
            handles.append(block.register_forward_pre_hook(count, with_kwargs=True))
        return handles

    def _shaped(self, values: Tensor) -> Tensor:
        if self._kind == "z":
            return split_heads(values, self._model.n_heads)
        # OPT runs its MLP on all positions in one row.
        return values.view(self._rows, -1, values.shape[-1]) if values.ndim == 2 else values

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        """Take the trace off.

        Raises:
            RuntimeError: When it was to edit something and nothing ran.
        """
        swallowed = super().__exit__(kind, error, trace)
        if kind is None and self._edits and not self._ran:
            raise RuntimeError(
                f"traced({self.place!r}, edit_output=…): nothing ran inside the `with`, so nothing "
                "was edited; ask for the run, run(…), inside it"
            )
        return swallowed


def traced(
    model: LanguageModel,
    place: str,
    *,
    retain_output: bool = True,
    retain_input: bool = False,
    clone: bool = True,
    detach: bool = False,
    retain_grad: bool = False,
    edit_output: Callable[..., Any] | None = None,
    stop: bool = False,
) -> PlacedTrace:
    """Return a trace at a place of a model, to be used in a ``with``.

    >>> import emolib
    >>> from emolib.planted import planted_emotion, planted_model
    >>> study = emolib.study(planted_model(), planted_emotion("gratitude"))
    >>> with traced(study.model, "z:0", edit_output=lambda z: 0 * z) as t:
    ...     silent = study.run().logit_diff
    >>> list(t.output.shape[2:]), float(silent.mean())
    ([4, 16], -1.0)

    Args:
        model: The model.
        place: See the top of this module.
        retain_output: Keep what is there, after the edit, as ``t.output``.
        retain_input: Keep what went into the module, as ``t.input``.
        clone: Keep copies: some models go on to change what is there in place.
        detach: Keep them cut off from the graph.
        retain_grad: After ``backward()``, ``output.grad`` is there.
        edit_output: Makes what is there anew, as many of ``output, layer, inputs`` as it takes;
            None in return keeps it.
        stop: End the forward there.

    Raises:
        InputError: When the model has no such place; in a run, when an edit returns another shape
            than it got.
    """
    return PlacedTrace(
        model,
        place,
        retain_output=retain_output,
        retain_input=retain_input,
        clone=clone,
        detach=detach,
        retain_grad=retain_grad,
        edit_output=edit_output,
        stop=stop,
    )
