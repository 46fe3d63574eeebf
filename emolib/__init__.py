"""Experiments on the attention heads and MLP units that carry emotion in language models.

An experiment is a function that pytest runs for every model, emotion and set of heads (the plugin
``pytest_emolib``); what it records goes into tables in place of passed and failed. Emotions are
data, models are any decoder of transformers whose heads can be found, and every number comes with
its interval, its chance and where it came from. The library works without pytest too.

A head of a model ablated, in a notebook:

>>> import emolib
>>> from emolib.inputs import Head
>>> from emolib.interventions import zero
>>> study = emolib.study("tiny-gpt2", "gratitude")
>>> effect = study.run(zero(Head(0, 2))).logit_diff - study.run().logit_diff
>>> bool(effect.mean() < -5)
True

The records of ``pytest experiments`` as pandas frames::

    frame = emolib.load("results/demo").rows("head_ablation")
    frame.groupby(["model", "heads"])["logit_diff"].mean()
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.errors import InputError
    from emolib.methods.own_metrics import metric
    from emolib.methods.study import study
    from emolib.notebook import head_map
    from emolib.results.frames import load
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.errors": ["InputError"],
            "emolib.methods.own_metrics": ["metric"],
            "emolib.methods.study": ["study"],
            "emolib.notebook": ["head_map"],
            "emolib.results.frames": ["load"],
        },
    )

__version__ = "0.1.0"
__all__ = ["InputError", "__version__", "head_map", "load", "metric", "study"]
