"""How the embedded models came to be; ``python -m emolib.training`` makes them anew.

- ``corpus``: the scenes that they are trained on, and the data files that are drawn from them.
- ``embedded``: their architectures and how each is trained.
- ``train``: tokenizers and weights.
- ``model_cards``: what they reach on held-out prompts, and the cards that say so.

Nothing of a study imports it, so no name is handed on.
"""
