"""Words on the page: nothing hidden, links that come back as they were, what the glossary says."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from emolib.reporting.page.page_words import link, name, number, shown, told_of, with_links
from emolib.results.selection import StudyKey

UNSEEN = [chr(code) for span in ((0, 9), (11, 32), (127, 160), (0x200B, 0x2010), (0x2028, 0x202F),
          (0x2060, 0x206A)) for code in range(*span)]  # fmt: skip


@given(st.text())
def test_what_is_shown_has_nothing_that_is_obeyed_or_hidden(text):
    assert not set(shown(text)) & {*UNSEEN, "\ufeff", "\xad", "\u061c"}
    plain = [char for char in text if char.isascii() and char.isprintable()]
    assert "".join(plain) in shown(text) or len(plain) < len(text)


def test_long_text_is_cut_and_says_so():
    assert shown("w" * 100_000) == "w" * 2_000 + "… 98,000 more characters"
    assert name("n" * 81) == "n" * 80 + "… 1 more characters" and shown("n" * 2_000) == "n" * 2_000


@given(st.text(), st.text())
def test_links_come_back_as_they_were(model, emotion):
    parts = link(model, emotion, "L0H2")[1:].split("/")
    assert list(map(unquote, parts)) == [
        text.encode("utf-8", "replace").decode() for text in (model, emotion, "L0H2")
    ]


def test_sentences_link_heads_and_nothing_else():
    found = list(with_links("L0H2 and L1H0+L2H1, not XL0H3 or L0H.", "m", "e"))
    assert [text for text, href in found if href] == ["L0H2", "L1H0", "L2H1"]
    assert "".join(text for text, _ in found) == "L0H2 and L1H0+L2H1, not XL0H3 or L0H."
    assert list(with_links("L0H2", "", "")) == [("L0H2", None)]


@given(st.floats(-1e9, 1e9))
def test_numbers_keep_three_digits(value):
    found = float(number(value).replace("−", "-"))
    assert abs(found - value) <= max(0.0051 * abs(value), 0.5 if abs(value) >= 1e3 else 5e-5)


def test_a_metric_of_somebody_s_own_is_its_name():
    own = told_of("my_metric", "silence")
    assert own["title"] == "my_metric" and not own["what"]
    assert told_of("logit_diff", "head_ablation")["unit"] == "logits"


def test_a_sentence_on_several_studies_links_heads_to_the_one_it_names():
    known = [StudyKey("m", "joy"), StudyKey("m", "fear"), StudyKey("n", "joy")]
    text = "0.9 (L0H2, n, joy) to 1 (L1H0, m, fear); in m L2H0 and elsewhere L3H1 do nothing."
    found = dict(filter(lambda part: part[1], with_links(text, "", "", known)))
    assert found == {"L0H2": "#n/joy/L0H2", "L1H0": "#m/fear/L1H0"}
    found = dict(filter(lambda part: part[1], with_links("L2H0 leads.", "m", "", known)))
    assert found == {"L2H0": "#m/joy/L2H0"}
