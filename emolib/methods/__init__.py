"""What is measured: a study of a model on an emotion's prompts, and every method on it.

- ``study``: a `Study`, the runs of a model on prompts; ``emolib.study`` makes one.
- ``readouts``, ``scores``, ``metrics``, ``text_metrics``: what a run says, of logits and of texts.
- ``own_metrics``, ``classified``: metrics of one's own, and classifiers that read texts.
- ``optimal_ablation``: the constants that stand in for heads or units and change least.
- ``screening``, ``attribution``, ``attention``: scores of every head.
- ``direct_effects``, ``frozen_norms``: what of a part reaches the logits, and whether it adds up.
- ``patching``: what is carried over between the sides of pairs.
- ``steering``: directions that separate the sides, and what adding them does.
- ``circuits``: how few heads are enough, of the sets that ``head_sets`` measures, as rows of
  ``circuit_records``.
- ``paths``: what of a head goes through which input of a later one.
- ``repair``: direct effects beside whole ones. ``reference``: what `mean` and `resample` draw from.
- ``unit_scores``, ``unit_screening``: the same of MLP units; ``unit_effects``: what patching them
  does exactly, which scores are compared with.
- ``verification``: what holds of a model's structure, type by type.
- ``controls``: what heads that should not matter come to.
- ``specificity``: whether a head is about one emotion or any.
- ``probes``: what can be read from z, by the fits of ``logistic``, tested as ``cross_validation``
  has it.

Public are the names of ``__all__``; each loads its module, and torch, when used.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.methods.attention import LastAttention, last_attention
    from emolib.methods.circuit_records import Circuits
    from emolib.methods.circuits import find_circuit
    from emolib.methods.controls import Controlled
    from emolib.methods.head_sets import HeadSets
    from emolib.methods.patching import Patched, patched
    from emolib.methods.paths import HeadPath, head_paths
    from emolib.methods.probes import Probed, probe, told_apart
    from emolib.methods.readouts import Readout
    from emolib.methods.repair import SelfRepair, self_repair
    from emolib.methods.screening import Screening, screen
    from emolib.methods.specificity import Specificity, specificity_of
    from emolib.methods.steering import Directions, directions
    from emolib.methods.study import Study
    from emolib.methods.unit_screening import UnitScreening, screen_units
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.methods.attention": ["LastAttention", "last_attention"],
            "emolib.methods.circuit_records": ["Circuits"],
            "emolib.methods.circuits": ["find_circuit"],
            "emolib.methods.controls": ["Controlled"],
            "emolib.methods.head_sets": ["HeadSets"],
            "emolib.methods.patching": ["Patched", "patched"],
            "emolib.methods.paths": ["HeadPath", "head_paths"],
            "emolib.methods.probes": ["Probed", "probe", "told_apart"],
            "emolib.methods.readouts": ["Readout"],
            "emolib.methods.repair": ["SelfRepair", "self_repair"],
            "emolib.methods.screening": ["Screening", "screen"],
            "emolib.methods.specificity": ["Specificity", "specificity_of"],
            "emolib.methods.steering": ["Directions", "directions"],
            "emolib.methods.study": ["Study"],
            "emolib.methods.unit_screening": ["UnitScreening", "screen_units"],
        },
    )

__all__ = [
    "Circuits",
    "Controlled",
    "Directions",
    "HeadPath",
    "HeadSets",
    "LastAttention",
    "Patched",
    "Probed",
    "Readout",
    "Screening",
    "SelfRepair",
    "Specificity",
    "Study",
    "UnitScreening",
    "directions",
    "find_circuit",
    "head_paths",
    "last_attention",
    "patched",
    "probe",
    "screen",
    "screen_units",
    "self_repair",
    "specificity_of",
    "told_apart",
]
