"""What columns mean: every entry is whole, leads somewhere, and is found by the names that are."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest
from made import around, rows_of

from emolib.inputs.profile_fields import described
from emolib.inputs.profiles import ITEMS, SETTINGS, Profile
from emolib.reporting.tables import to_csv
from emolib.results.chances import columns
from emolib.results.glossary import KINDS, entries, entry, nearest, setting

SCIENCE = (Path(__file__).parents[2] / "docs/science.md").read_text(encoding="utf-8")
PAPERS = re.findall(r"\[([^\]]+)\] ", SCIENCE.partition("\n## Sources\n")[2])


def every():
    """Give all entries, also as they are in single experiments."""
    for one in entries():
        yield one
        yield from (other for _, other in one.differs)


def test_entries_are_whole():
    for one in every():
        assert one.kind in KINDS and one.title and one.what.endswith("."), one.name
        if one.kind == "metric":
            assert one.formula or one.unit, one.name
            assert one.unit and one.sign and one.range and one.source, one.name
        assert "{}" not in f"{one.title}{one.what}{one.formula}{one.base}", one.name


def test_they_lead_to_sections_and_sources_that_there_are():
    sections = set(re.findall(r"^## (.*)$", SCIENCE, re.MULTILINE))
    assert {one.source for one in every() if one.source} <= sections
    assert len(PAPERS) > 20 and {one.paper for one in every() if one.paper} <= set(PAPERS)


def test_no_name_is_there_twice():
    names = [(one.name, one.kind == "setting") for one in entries()]
    assert len(names) == len(set(names))


def test_a_column_says_what_it_is_where_it_stands():
    plain, there = entry("logit_diff"), entry("logit_diff", "head_circuit")
    assert plain.source == "Metrics on logits" and there.source == "Circuits"
    assert there.unit == plain.unit == "logits" and there.what != plain.what
    # In the user's own experiment `loss` may be anything; logit_diff is emolib's wherever it is.
    assert entry("loss").title == "loss" and entry("loss", "mine") is None
    assert entry("logit_diff", "mine") == plain


def test_statistics_follow_from_their_metric():
    low = entry("keyword_rate_joy_ci_low")
    assert (low.title, low.unit, low.base) == ("Δ words of joy, lower", "words per 100",
                                               "keyword_rate_joy")  # fmt: skip
    assert "joy" in low.what and entry("kl_max_t_hall").base == "kl"
    # Named so themselves, or of no metric.
    assert entry("act_d_z").base == "" and entry("why_no_cpr_log").kind == "label"
    assert entry("faithfulness_ci_low", "head_circuit").formula.startswith("percentile")
    assert entry("loss_n", "mine") is None


@pytest.mark.parametrize(
    "name", ["mine", "", "_n", "mine_p", "keyword_rate_", "item_ci_low", "effect_", "<"]
)
def test_what_is_not_emolibs_has_no_entry(name):
    assert entry(name) is None


def test_a_pattern_takes_any_word():
    assert entry("classifier_a_b").title == "Δ classifier, a_b"
    assert entry("effect_joy", "head_specificity").name == "effect_joy"
    assert entry("effect_size", "mine") is None


def test_an_unknown_name_has_neighbours():
    assert nearest("self_repiar")[0] == "self_repair" and nearest("§§§§") == []


def test_every_setting_of_a_profile_says_what_it_is():
    assert set(described(Profile)) == {f.name for f in fields(Profile)}
    for name in {*ITEMS, *SETTINGS, "text_draws", "clean_gap"}:
        assert setting(name).what, name
    assert setting("draws").what == described(Profile)["draws"]
    assert entry("verify").kind == "setting" and entry("heads").kind == "dimension"


def test_what_tables_add_to_a_metric_is_known():
    rows = rows_of("head_ablation", {"logit_diff": around(1.0)}, heads="L0H0", ablation="zero")
    header = next(csv.reader(io.StringIO(to_csv(rows))))
    (tested,) = columns(rows).values()
    for name in [*header, *tested]:
        assert entry(name, "head_ablation"), name
    assert {name.removeprefix("logit_diff") for name in [*header, *tested]} >= {
        one.name for one in entries() if one.kind == "suffix" and one.name != "_ci"
    }
