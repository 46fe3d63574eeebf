"""Running a model, clean or under interventions: the one way there is, and its speed.

- ``contracts``: what a way through a model can do.
- ``runner``: the `Runner`, all that a study asks of a model; it chooses the path of its runs.
- ``layerwise``, ``layerwise_model``: runs through the layers one by one.
- ``layers``, ``kernels``, ``module_layers``: a layer taken apart, or transformers' own module.
- ``whole``, ``hooked``, ``hooked_slopes``: runs and gradients through the whole model; the one
  user of hooks on z.
- ``batching``, ``sweeps``, ``clean_runs``, ``edits``: many runs as rows of one batch, resumed from
  the clean run at the layer they edit.
- ``receiving``: what heads would read of a run, were they not held in it.
- ``slices``: logits a few rows at a time, reduced to what is kept of them.
- ``forwards``, ``decoding``, ``gradients``, ``constants``: whole batches, greedy continuations,
  gradients at z and at constants in its place.
- ``relevance``: layers whose way back carries relevance in place of the gradient.
- ``batch_sizes``, ``shapes``, ``costs``: how much goes into one batch, and what runs will cost.
- ``heap``: memory that was let go of, given back to the system.
- ``support``: whether a model's layers can be taken apart.
- ``proofs``, ``direct_path``: whether heads are where a row says, and whether layers are sums.
- ``traced``: traces at places that have the same name in every architecture.

Public is the `Runner`; importing the package alone loads no torch.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.engine.runner import Runner
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.engine.runner": ["Runner"],
        },
    )

__all__ = ["Runner"]
