"""What a study is asked about: heads, units, prompts, words, emotions and profiles.

- ``heads``, ``units``: heads and MLP units, sets of them, and the specs that name them.
- ``targets``: whatever an intervention edits: these, or the residual stream after a layer.
- ``layer_specs``: layers by their number or by how deep they are.
- ``prompts``: prompt files, pairs and lexicons, each with its schema.
- ``words``: what counts as a word.
- ``rankings``: rankings of heads from files, importance scores of circuit benchmarks among them.
- ``emotions``: an emotion as the data that a study of it needs; ``folds``: whether its prompts
  can be dealt into parts that are held out.
- ``shards``: one part of a plan's work, and how tasks are dealt out to parts.
- ``profiles``: what a study runs on and how; ``profile_fields``: what each setting decides and
  which values it takes.

Public are the names of ``__all__``. They load nothing but the standard library.
"""

from emolib.inputs.emotions import Emotion, load_emotion
from emolib.inputs.heads import Head, HeadSet, all_heads, head_set, parse_head
from emolib.inputs.profiles import Ablation, Profile, load_profile
from emolib.inputs.prompts import (
    Chat,
    Lexicon,
    Pair,
    Position,
    Side,
    Turns,
    load_lexicon,
    load_pairs,
    load_prompts,
)
from emolib.inputs.targets import Stream, StreamSet, Targets
from emolib.inputs.units import Unit, UnitSet, unit_set

__all__ = [
    "Ablation",
    "Chat",
    "Emotion",
    "Head",
    "HeadSet",
    "Lexicon",
    "Pair",
    "Position",
    "Profile",
    "Side",
    "Stream",
    "StreamSet",
    "Targets",
    "Turns",
    "Unit",
    "UnitSet",
    "all_heads",
    "head_set",
    "load_emotion",
    "load_lexicon",
    "load_pairs",
    "load_profile",
    "load_prompts",
    "parse_head",
    "unit_set",
]
