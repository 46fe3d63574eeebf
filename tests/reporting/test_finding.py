"""One finding: what it is on, and how studies are named in it."""

from __future__ import annotations

from emolib.reporting.finding import finding, listed_studies
from emolib.results.selection import StudyKey


def test_a_finding_is_on_what_its_studies_share():
    same = [StudyKey("one", "joy"), StudyKey("one", "fear")]
    made = finding("heads", same, "Text.", heads=["L0H1", "L0H1", "L2H0"])
    assert (made.model, made.emotion, made.heads) == ("one", "", ("L0H1", "L2H0"))
    other = finding("heads", [StudyKey("one", "joy"), StudyKey("two", "joy")], "Text.")
    assert (other.model, other.emotion, other.found) == ("", "joy", True)


def test_studies_of_one_model_are_named_together():
    found = [StudyKey("one", "joy"), StudyKey("two", "joy"), StudyKey("one", "fear")]
    assert listed_studies(found) == "one (joy and fear) and two (joy)"
    assert listed_studies([StudyKey("one", "")]) == "one"
    assert listed_studies([StudyKey("", "joy")]) == "joy"
