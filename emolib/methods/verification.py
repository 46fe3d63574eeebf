"""What is verified of a model: which way its runs go, and what was shown of its structure.

``python -m emolib models`` prints it, of every type that transformers has or of one model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from emolib.engine.proofs import Proof, prove
from emolib.engine.support import support_of
from emolib.errors import InputError
from emolib.methods.direct_effects import check_sum
from emolib.models.architectures import ARCHITECTURES, head_layers_from_config
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.miniatures import NotTiny, miniature, model_types, quiet
from emolib.models.structure import describe, probe_ids

HEADERS = ("type", "runs", "verified", "largest deviation", "heads", "units", "dla")
REFUSED, NOT_BUILT = "refused", "not built"


@dataclass(frozen=True)
class Verified:
    """What was verified of one type or model.

    Attributes:
        name: The type or the model.
        runs: How it is run, a way of `emolib.engine.support.Support`; ``refused``; or ``not
            built``, when there is nothing to verify it on.
        proofs: What was shown of its structure.
        heads: Which layers have heads.
        units: What there is of MLP units.
        dla: Whether direct effects add up, by how much, or why not.
        reason: Why it is refused or not built, why its layers are not taken apart.
        row: Where its parts are.
    """

    name: str
    runs: str
    proofs: tuple[Proof, ...] = ()
    heads: str = ""
    units: str = ""
    dla: str = ""
    reason: str = ""
    row: str = ""

    @property
    def supported(self) -> bool:
        """Whether heads of it can be worked on."""
        return self.runs not in (REFUSED, NOT_BUILT)

    def cells(self) -> list[str]:
        """Return its line of the table."""
        if not self.supported:
            return [self.name, self.runs, self.reason, "", "", "", ""]
        held = [proof for proof in self.proofs if proof.holds]
        worst = max((p.deviation for p in held if p.deviation is not None), default=0.0)
        names = ", ".join(proof.name for proof in held)
        return [self.name, self.runs, names, f"{worst:.0e}", self.heads, self.units, self.dla]


def path_of(model: LanguageModel) -> tuple[str, str]:
    """Return which way the runs of a model go, and why not one of the faster ways."""
    found = support_of(model, _prompts(model))
    return found.way, "; ".join(found.reasons)


def _prompts(model: LanguageModel) -> Batch:
    ids = probe_ids(model.hf)[0].tolist()
    prompts = Prompts(("one", "other"), (tuple(ids), tuple(ids[1:4])))
    return Batch(prompts, range(2), model.pad, model.device)


def verify(model: LanguageModel) -> Verified:
    """Return what holds of a loaded model."""
    proofs = prove(model)
    if failed := [proof for proof in proofs if proof.needed and not proof.holds]:
        listed = "; ".join(map(str, failed))
        return Verified(model.name, REFUSED, proofs, reason=listed, row=describe(model.arch))
    said = head_layers_from_config(model.hf.config.to_dict(), model.n_layers)
    if said != model.head_layers:
        told = f"heads in layers {list(said)} by its configuration, {list(model.head_layers)} found"
        return Verified(model.name, REFUSED, proofs, reason=told, row=describe(model.arch))
    runs, reason = path_of(model)
    sides = [_prompts(model).prompts]
    targets = torch.tensor([2, 9], device=model.device), torch.tensor([4], device=model.device)
    found = check_sum(model, sides, targets)
    every = len(model.head_layers) == model.n_layers
    heads = "all layers" if every else "layers " + ", ".join(map(str, model.head_layers))
    try:
        units = f"{model.n_units} a layer"
    except InputError as error:
        units = "none: " + str(error).partition(": ")[0]
    dla = found.reason or f"adds up ({found.deviation:.0e})"
    return Verified(model.name, runs, proofs, heads, units, dla, reason, describe(model.arch))


def verify_types(types: Iterable[str] | None = None) -> Iterator[Verified]:
    """Yield what holds of each type, built tiny from its config.

    Args:
        types: Which ones; None for every causal language model of transformers.
    """
    for kind in model_types() if types is None else types:
        try:
            with quiet():
                found = verify(miniature(kind))
        except NotTiny as error:
            yield Verified(kind, NOT_BUILT, reason=str(error).partition(": ")[2])
        except InputError as error:
            told = str(error).partition("no heads found in ")[2].partition("; give its row")[0]
            yield Verified(kind, REFUSED, reason=told or str(error))
        else:
            units = found.units.replace(f"tiny-{kind}", "it")
            yield Verified(
                kind, found.runs, found.proofs, found.heads, units, found.dla, found.reason,
                found.row,
            )  # fmt: skip


def page(found: Sequence[Verified]) -> str:
    """Return the page of types, Markdown."""
    import transformers

    lines = [
        "# Architectures",
        "",
        f"Every causal language model of transformers {transformers.__version__}, built tiny from "
        "its config with random weights, with what was verified of it. Written by "
        "`python -m emolib models --write docs/models.md`; `python -m emolib models MODEL` does "
        "the same of a model with its own weights.",
        "",
        "- **runs**: `own layers`: taken apart by emolib, so that runs share what they can; "
        "`own modules`: resumed and batched through transformers' layer modules; `hooks`: whole, "
        "run by run ([speed.md](speed.md#how-runs-are-computed)).",
        "- **verified**: identity edits change no bit; zeroing a head equals zeroing its slice of "
        "W_O; all heads zeroed leave the bias; heads and bias add up to the projection's output; "
        "what a head is made of reaches its slice alone (`apart`); no token changes what comes "
        "before it; padding and cache change nothing; layers are sums of what their parts put out "
        "(`stream`).",
        "- **dla**: direct effects of all parts against the logit difference, relative; where "
        "they do not add up, or cannot be had, dla is null and the reason is in the row.",
        f"- In the table of emolib: {', '.join(sorted(ARCHITECTURES))}. Of all others the "
        "structure is found when they are loaded, and proven on the model at hand.",
        "",
    ]
    for title, members in (
        ("Supported", [one for one in found if one.supported]),
        ("Refused", [one for one in found if one.runs == REFUSED]),
        ("Not built tiny, so not verified here", [o for o in found if o.runs == NOT_BUILT]),
    ):
        lines += [f"## {title} ({len(members)})", ""]
        if title == "Supported":
            lines += [_line(HEADERS), _line(["---"] * len(HEADERS))]
            lines += [_line(one.cells()) for one in members]
        else:
            lines += [_line(("type", "why")), _line(["---"] * 2)]
            lines += [_line((one.name, one.reason)) for one in members]
        lines.append("")
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write_page(path: Path, found: Sequence[Verified]) -> Path:
    """Write the page and return its path.

    Raises:
        InputError: When it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--write {path}: {error.strerror}; name another file") from None
    return path
