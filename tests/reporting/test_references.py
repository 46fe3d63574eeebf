"""What to cite: emolib as CITATION.cff has it, and papers that docs/science.md names."""

from __future__ import annotations

import re
from pathlib import Path

from emolib.reporting.experiments import KNOWN
from emolib.reporting.references import _PAPERS, bibtex, cited

ROOT = Path(__file__).parents[2]


def test_emolib_is_cited_as_citation_cff_says():
    cff = (ROOT / "CITATION.cff").read_text("utf-8")
    facts = dict(re.findall(r"^(?:  - )?(\w+): \"?(.*?)\"?$", cff, re.MULTILINE))
    (entry,) = bibtex([], facts["version"])
    found = dict(re.findall(r"(\w+) += \{(.*)\}", entry))
    assert found["title"].replace("{MLP}", "MLP") == facts["title"]
    assert found["author"] == "{" + re.search(r"- name: (.*)", cff)[1] + "}"
    assert [found[name] for name in ("version", "url", "license")] == [
        facts[name] for name in ("version", "url", "license")
    ]


def test_every_paper_is_among_the_sources():
    sources = " ".join((ROOT / "docs/science.md").read_text("utf-8").split("## Sources")[1].split())
    for key, entry in _PAPERS.items():
        first = re.search(r"author = \{(.*?)(?: and .*)?\}", entry)[1]
        assert first in sources, key
        if eprint := re.search(r"eprint = \{(.*)\}", entry):
            assert eprint[1] in sources, key


def test_what_was_run_decides_what_is_cited():
    assert cited([]) == ["efron1987", "benjamini1995", "westfall1993"]
    assert "belinkov2022" in cited(["head_probe"]) and "belinkov2022" not in cited(["steering"])
    assert cited([], ["optimal"])[-1] == "li2024"
    every = cited(KNOWN, ["optimal"])
    assert set(every) == set(_PAPERS) and len(every) == len(set(every))


def test_entries_are_whole():
    text = "\n".join(bibtex(list(_PAPERS), "1.2"))
    assert text.count("{") == text.count("}")
    keys = re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)
    assert keys == ["emolib", *_PAPERS]
