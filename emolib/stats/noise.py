"""The size below which a number is rounding of float32 and not an effect."""

FLOAT_NOISE = 1e-6
"""Logits of about 10 differ by this much from one order of sums to another."""
