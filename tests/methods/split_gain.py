"""Planted models whose gain is split over several heads, and what some of these are worth."""

from __future__ import annotations

import math

import torch
from tiny import profile

from emolib.inputs.heads import Head
from emolib.methods.study import Study
from emolib.planted import GAIN, Plan, planted_emotion, planted_model


def logit_diff(h):
    return (h - 1) / math.sqrt(1 + h**2 / 64)


def share(h):
    """Give F of heads that together write h of 6."""
    return (logit_diff(h) - logit_diff(0)) / (logit_diff(6) - logit_diff(0))


def split(count, **fields):
    """Give a study of 2 layers of 8 heads, and the heads that the gain is split over."""
    heads = [Head(0, index) for index in range(count)]
    plan = Plan(2, 8, dict.fromkeys(heads, GAIN / count), (Head(0, 7),))
    settings = profile(max_new_tokens=2, **fields)
    return Study(planted_model(torch.float64, plan), planted_emotion(), settings), heads
