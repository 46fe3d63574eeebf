"""Experiments on the attention heads and MLP units that carry emotion in language models."""

__version__ = "0.1.0"
