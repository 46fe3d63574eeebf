"""What readers of a run have to know beside its numbers: what was left out, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from emolib.results.rows import Row, group
from emolib.results.selection import chosen_by_rank, kinds, studies, study_of

_NAMED = 2
# Whose rows the report tests against chance.
_TESTED = ("logit_diff", "atp_ig")


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line on the pairs left out of each study and one on the words left out of logits."""
    pairs: dict[str, str] = {}
    words: dict[str, dict[str, None]] = {}
    for row in rows:
        model, emotion = study_of(row)
        if left_out := row.provenance.get("left_out"):
            reasons = _some([f"{pair}: {reason}" for pair, reason in left_out], "; ")
            pairs[f"{model}, {emotion}"] = f"{len(left_out)} pairs left out ({reasons})"
        if pieces := row.provenance.get("in_pieces"):
            line = f"{emotion}: {len(pieces)} words are several tokens each ({_some(pieces)})"
            words.setdefault(line, {})[model] = None
    yield from (f"{study}: {line}" for study, line in pairs.items())
    for line, models in words.items():
        yield f"{line} and stay out of the logit metrics of {', '.join(models)}"


def out_of_reach(rows: Sequence[Row], clusters: Callable[[Row], tuple[int, str]]) -> Iterator[str]:
    """Yield a line for each design that can tell too little from chance, whatever the effects are.

    Args:
        rows: Rows of any tables, outlines or whole. Of a table with effects on ``logit_diff`` or
            ``atp_ig`` the tests are its rows, less those that a rank chose.
        clusters: Of a row, how many templates or prompts it stands on and which of the two:
            `clusters_of` where rows are whole.
    """
    tested = [row for row in rows if any(isinstance(row.values.get(n), dict) for n in _TESTED)]
    if not tested:
        return
    # Imported here: it loads numpy, which runs that test nothing do without.
    from emolib.stats.significance import reach

    found: dict[str, dict[str, None]] = {}
    tested = [row for row in tested if not chosen_by_rank(row)]
    for experiment, members in group(tested, lambda row: row.experiment).items():
        for study in studies(members).values():
            for alike in kinds(study).values():
                count, of = clusters(alike[0])
                if why := reach(count, len(alike), of=of).why:
                    found.setdefault(why, {})[experiment] = None
    yield from (f"{', '.join(names)}: {why}" for why, names in found.items())


def clusters_of(row: Row) -> tuple[int, str]:
    """Return how many templates a whole row stands on, or prompts where it has none."""
    if templates := set(row.pairs.get("templates", ())):
        return len(templates), "templates"
    return max(map(len, row.vectors.values()), default=0), "prompts"


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:_NAMED]) + (f"{between}…" if len(names) > _NAMED else "")
