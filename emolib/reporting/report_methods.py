"""Section of the report that a paper takes as it is: what was done, with every figure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from emolib.reporting.experiments import CIRCUITS, PATCHED, PROBED, SCREENED, STEERED
from emolib.reporting.markdown import inline
from emolib.reporting.references import bibtex, cited
from emolib.reporting.report_study import Setup
from emolib.reporting.wording import counted, listed, whole
from emolib.results.selection import ABLATIONS
from emolib.stats.bootstrap import BOOTSTRAPS
from emolib.stats.significance import ENUMERATED, FLIPS

REFERENCES = "references.bib"
"""The file beside the report that has what to cite."""
_VERSIONS = ("python", "torch", "transformers", "numpy", "scipy")


def methods(setup: Setup, experiments: Collection[str]) -> Iterator[str]:
    """Yield the section, from what all rows told.

    Args:
        setup: What was seen of them.
        experiments: Names of the experiments that they are of.
    """
    yield "## Methods"
    yield f"To paste into a paper; what to cite is in [{REFERENCES}]({REFERENCES})."
    yield " ".join(_sentences(setup, experiments))


def references(setup: Setup, experiments: Collection[str]) -> str:
    """Return what to cite, as BibTeX.

    Args:
        setup: As for `methods`.
        experiments: As for `methods`.
    """
    keys = cited(experiments, setup.ablations)
    return "\n".join(bibtex(keys, _one(setup.versions.get("emolib")))) + "\n"


def _sentences(setup: Setup, experiments: Collection[str]) -> Iterator[str]:
    models = [
        f"{inline(name)} ({inline(str(told['type']))}, {told['layers × heads']} heads, weights "
        f"{inline(str(told['weights']))})"
        for name, told in sorted(setup.models.items())
    ]
    emolib, commit = (
        inline(_one(found))
        for found in (setup.versions.get("emolib"), setup.settings.get("commit"))
    )
    begun = f"emolib {emolib}{f', commit {commit},' if commit else ''}"
    yield f"{begun} was run on {listed(models, 12) if models else 'the models'}."
    yield from _prompts(list(setup.sizes.values()))
    yield (
        "logit_diff is the mean logit of the emotion's words less that of neutral words at the "
        "last token of a prompt; effects are its value under the intervention less clean, in "
        "logits."
    )
    at = _one(setup.settings.get("position"))
    if kinds := [kind for kind in ABLATIONS if kind in setup.ablations]:
        where = f", at the position {inline(at)}" if at else ""
        yield f"Heads were ablated one at a time ({listed(kinds)}){where}."
    if PATCHED in experiments:
        yield "Heads were patched in both directions (denoise, noise)."
    if SCREENED in experiments:
        verified = _one(setup.settings.get("verify"))
        yield (
            "Heads were screened by attribution patching with gradients averaged over the path "
            "(atp_ig)"
            + (f", {inline(verified)} of them verified by patching." if verified else ".")
        )
    if CIRCUITS in experiments:
        outside = _one(setup.settings.get("circuit_ablation"))
        yield (
            "Circuits were chosen on one half of the templates and tested on the other"
            + (f", heads outside of them under {inline(outside)}." if outside else ".")
        )
    if PROBED in experiments:
        yield "Probes were logistic regressions from z of one head, tested on held-out templates."
    if STEERED in experiments:
        yield "Steering added multiples of the difference of means, read on held-out templates."
    if tokens := _one(setup.settings.get("max_new_tokens")):
        yield f"Continuations are greedy, of up to {inline(tokens)} tokens."
    yield (
        f"Intervals are 95 % bootstrap intervals (BCa, B = {BOOTSTRAPS:,}) that resample "
        "templates; p is from sign flips of templates (every pattern where there are at most "
        f"{ENUMERATED:,}, else {FLIPS:,} drawn), q from Benjamini and Hochberg's procedure over "
        "the rows of a table, and family-wise p from step-down max-T (Westfall and Young)."
    )
    seed, dtype, device = (_one(setup.settings.get(name)) for name in ("seed", "dtype", "device"))
    told = [
        f"{name} {inline(_one(setup.versions[name]))}"
        for name in _VERSIONS
        if name in setup.versions
    ]
    told += [inline(f"{dtype} on {device}")] if dtype and device else []
    seeds = [f"seed {inline(seed)}"] if seed else []
    if seeds or told:
        yield f"Run with {', '.join([*seeds, *told])}."


def _prompts(sizes: list[dict[str, Any]]) -> Iterator[str]:
    known = [size for size in sizes if size.get("prompts")]
    if not known:
        return
    emotions = listed(map(inline, dict.fromkeys(size["emotion"] for size in known)), 12)
    templates = [size["templates"] for size in known if size.get("templates")]
    left_out = sum(size["left out"] for size in known)
    each = "each " if len({size["emotion"] for size in known}) > 1 else ""
    yield (
        f"For {emotions}, {each}{whole(size['prompts'] for size in known)} emotion prompts stood "
        "beside their neutral partners"
        + (f", made from {whole(templates)} templates" if templates else "")
        + (f" ({counted(left_out, 'pair')} left out)." if left_out else ".")
    )


def _one(values: Collection[str] | None) -> str:
    """Return a value, or where runs differ all of them."""
    return ", ".join(sorted(values or ()))
