"""What readers of a run have to know beside its numbers: what was left out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emolib.records import Row

_NAMED = 2


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line on the pairs left out of each study and one on the words left out of logits."""
    pairs: dict[str, str] = {}
    words: dict[str, dict[str, None]] = {}
    for row in rows:
        model, emotion = row.dims.get("model", ""), row.dims.get("emotion", "")
        if left_out := row.provenance.get("left_out"):
            reasons = _some([f"{pair}: {reason}" for pair, reason in left_out], "; ")
            pairs[f"{model}, {emotion}"] = f"{len(left_out)} pairs left out ({reasons})"
        if pieces := row.provenance.get("in_pieces"):
            line = f"{emotion}: {len(pieces)} words are several tokens each ({_some(pieces)})"
            words.setdefault(line, {})[model] = None
    yield from (f"{study}: {line}" for study, line in pairs.items())
    for line, models in words.items():
        yield f"{line} and stay out of the logit metrics of {', '.join(models)}"


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:_NAMED]) + (f"{between}…" if len(names) > _NAMED else "")
