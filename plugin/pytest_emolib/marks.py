"""The markers of experiments, as ``pytest --markers`` lists them."""

from __future__ import annotations

MARKERS = (
    "results(path, shape='item'): the results file of an experiment, under the results folder; "
    "the path may name {model}, {emotion}, {heads}, {units}, {ablation} and {variant}",
    "effects(metric, gated=(), controls=(), **labels): the metric by which --effects-save and "
    "--effects-compare know an experiment; heads are those of the profile and of the marker",
    "gated: set by emolib on items of declared heads and controls: -m gated runs these alone",
)
