"""Which plots a results folder gets, and from which rows and files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.reporting.attention_plots import Head, attention_patterns, head_in
from emolib.reporting.effect_plots import (
    ablation_sentiment_comparison,
    effect_by_layer,
    model_comparison,
    patching_keyword_comparison,
)
from emolib.reporting.score_plots import check_score, head_reaction_heatmap, top_heads
from emolib.results.abridged import abridged
from emolib.results.item_files import item_file, read_effects, writers
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import kind_of, layer_of

# Of results files: where the rows go that are drawn.
_ABLATION, _PATCHING = "patching/head_ablation/*.json", "patching/head_patching/*.json"
_ATTENTION, _SCORES = "attention/*.json", "alignment/head_scores_*.json"
# The kind of ablation by which models are compared.
_COMPARED = "zero"


def draw(
    results: Path,
    out: Path | None = None,
    *,
    head_scores: Sequence[Path] = (),
    ablation_files: Sequence[Path] = (),
    patching_files: Sequence[Path] = (),
    emotion: str | None = None,
    top_n: int = 10,
    score: str = "atp_ig",
    run: str | None = None,
) -> list[Path]:
    """Draw all that a folder has results for, and return the files.

    Effects and attention are drawn from the store; from results files where they are named, or
    where the store has no rows of a kind.

    Args:
        results: The results folder of a profile.
        out: Where to; ``plots/heads`` and ``plots/attention`` in `results` by default.
        head_scores: Scores files, in place of those in `results`.
        ablation_files: Files of head ablation, in place of the rows in the store.
        patching_files: Files of head patching, in place of the rows in the store.
        emotion: Draw the effects on this emotion alone.
        top_n: Heads in `top_heads`.
        score: Which score the heat map and `top_heads` show.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default. The
            scores are those of the scores files in any case.

    Raises:
        InputError: When there is nothing to draw, or a file is damaged.
    """
    check_score(score)
    stored = _Stored(Store(results), emotion, run)
    scores = list(head_scores) or sorted(results.glob(_SCORES))
    ablation = stored.effects(_ABLATION, ablation_files, results)
    patching = stored.effects(_PATCHING, patching_files, results)
    attention = [] if head_scores or out else list(stored.heads(results))
    if not (scores or ablation or patching or attention):
        about = f" for {emotion!r}" if emotion else ""
        raise InputError(
            f"{results}: no results to draw{about}; run `pytest experiments` first, or name files "
            "with --head-scores, --ablation-file or --patching-file"
        )
    folder = out or results / "plots/heads"
    made = []
    if scores:
        made += [
            head_reaction_heatmap(scores, folder / "head_reaction_heatmap.png", score=score),
            top_heads(scores, folder / "top_heads.png", score=score, top_n=top_n),
        ]
    if ablation:
        compared = stored.with_vectors(ablation)
        made += [
            ablation_sentiment_comparison(ablation, folder / "ablation_sentiment_comparison.png"),
            effect_by_layer(ablation, folder / "effect_by_layer.png"),
            model_comparison(compared, folder / "model_comparison.png", kind=_COMPARED),
        ]
    if patching:
        name = "patching_keyword_comparison.png"
        made.append(patching_keyword_comparison(patching, folder / name))
    made += attention_patterns(attention, results / "plots/attention", emotion=emotion)
    return made


class _Stored:
    """What a store has to draw, as outlines; what is drawn of them per prompt is read by itself."""

    def __init__(self, store: Store, emotion: str | None, run: str | None) -> None:
        self._store, self._emotion = store, emotion
        self._found: dict[str, list[Row]] = {_ABLATION: [], _PATCHING: [], _ATTENTION: []}
        for row in abridged(store.rows(run=run)):
            for pattern, rows in self._found.items():
                if fnmatchcase(row.output.get("path", ""), pattern):
                    rows.append(row)

    def effects(self, pattern: str, named: Sequence[Path], results: Path) -> list[Row]:
        """Return the rows that go to results files of a pattern, in order of the files.

        Args:
            pattern: Of the files.
            named: Files to read in place of the store.
            results: The folder with files to read where the store has no such rows.

        Raises:
            InputError: When a row is of no head ablation or patching, or a file is damaged.
        """
        rows: Iterable[Row] = () if named else _in_order(self._found[pattern])
        for row in rows:
            _check_effect(row, pattern)
        if not rows:
            files = list(named) or sorted(results.glob(pattern))
            whole = (row for path in files for row in read_effects([path]))
            rows = abridged(whole, ("logit_diff",))
        return [row for row in rows if self._emotion in (None, row.dims["emotion"])]

    def with_vectors(self, rows: Iterable[Row]) -> list[Row]:
        """Return rows of which those by which models are compared have their values per prompt."""
        return list(abridged(map(self._whole, rows), ("logit_diff",)))

    def _whole(self, row: Row) -> Row:
        compared = kind_of(row).name == _COMPARED and layer_of(row) is not None
        return self._store[row.key][row.row] if compared and not row.vectors else row

    def heads(self, results: Path) -> Iterator[Head]:
        """Yield the heads whose attention was recorded, in order of their files.

        Args:
            results: The folder with files to read where the store has none.
        """
        rows = [row for row in self._found[_ATTENTION] if row.mean("delta_slot") is not None]
        if not rows:
            yield from map(head_in, sorted(results.glob(_ATTENTION)))
        for row in _in_order(rows):
            size = abs(row.mean("delta_slot") or 0.0)
            content = partial(self._content, row.key)
            yield Head(row.dims["model"], row.dims["emotion"], size, content)

    def _content(self, key: str) -> dict[str, Any]:
        return item_file(self._store[key])


def _check_effect(row: Row, pattern: str) -> None:
    named = row.dims | {"ablation or direction": kind_of(row).name}
    if missing := [n for n in ("model", "emotion", "heads", *named) if not named.get(n)]:
        raise InputError(
            f"{row.item}: what goes to {pattern} is drawn as an effect on heads, and this has no "
            f"{missing[0]}; give it another path in its results marker"
        )


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows in order of their files, of each file those of the item that wrote it last."""
    wrote = writers(rows)
    found = [row for row in rows if wrote.get(row.output["path"]) == row.key]
    return sorted(found, key=lambda row: Path(row.output["path"]))
