"""What to cite: emolib itself and the papers of the methods, as BibTeX.

The facts on emolib are those of ``CITATION.cff``, those on papers of the Sources of
``docs/science.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from emolib.reporting.experiments import (
    ABLATED,
    CIRCUIT,
    CIRCUITS,
    CONTROLLED,
    PATCHED,
    PATHS,
    PROBED,
    SCREENED,
    STEERED,
    UNITS_SCREENED,
)

OURS = """@software{{emolib,
  author  = {{{{The emolib developers}}}},
  title   = {{emolib: experiments on the attention heads and {{MLP}} units that carry emotion}},
  version = {{{version}}},
  url     = {{https://github.com/emolib/emolib}},
  license = {{Apache-2.0}}
}}"""
_ARXIV = """@misc{{{key},
  author = {{{author}}},
  title  = {{{title}}},
  year   = {{{year}}},
  eprint = {{{eprint}}},
  archivePrefix = {{arXiv}}
}}"""
_ELSEWHERE = """@{kind}{{{key},
  author = {{{author}}},
  title  = {{{title}}},
  {field} = {{{where}}},
  year   = {{{year}}}
}}"""
# Key, authors, title, year, arXiv number.
_PAPERS = {
    key: _ARXIV.format(key=key, author=author, title=title, year=year, eprint=eprint)
    for key, author, title, year, eprint in (
        ("kramar2024", "Kramár and others", "{AtP*}", 2024, "2403.00745"),
        ("hanna2024", "Hanna and others", "Have faith in faithfulness", 2024, "2403.17806"),
        ("zhang2023", "Zhang and Nanda", "Towards best practices of activation patching", 2023,
         "2309.16042"),
        ("goldowskydill2023", "Goldowsky-Dill and others",
         "Localizing model behavior with path patching", 2023, "2304.05969"),
        ("mueller2025", "Mueller and others",
         "{MIB}: a mechanistic interpretability benchmark", 2025, "2504.13151"),
        ("wang2022", "Wang and others", "Interpretability in the wild", 2022, "2211.00593"),
        ("rimsky2023", "Rimsky and others",
         "Steering {Llama} 2 via contrastive activation addition", 2023, "2312.06681"),
        ("turner2023", "Turner and others", "Activation addition", 2023, "2308.10248"),
        ("belinkov2022", "Belinkov", "Probing classifiers: promises, shortcomings, and advances",
         2022, "2102.12452"),
        ("rezaeijafari2025", "Rezaei Jafari and others",
         "{RelP}: faithful and efficient circuit discovery in language models via relevance "
         "patching", 2025, "2508.21258"),
        ("li2024", "Li and Janson", "Optimal ablation for interpretability", 2024, "2409.09951"),
        ("rushing2024", "Rushing and Nanda", "Explorations of self-repair", 2024, "2402.15390"),
    )
}  # fmt: skip
_PAPERS |= {
    key: _ELSEWHERE.format(
        kind=kind, key=key, author=author, title=title, field=field, where=where, year=year
    )
    for kind, key, author, title, field, where, year in (
        ("article", "efron1987", "Efron", "Better bootstrap confidence intervals", "journal",
         "JASA 82", 1987),
        ("article", "benjamini1995", "Benjamini and Hochberg",
         "Controlling the false discovery rate", "journal", "JRSS B 57", 1995),
        ("book", "westfall1993", "Westfall and Young", "Resampling-based multiple testing",
         "publisher", "Wiley", 1993),
        ("inproceedings", "hutto2014", "Hutto and Gilbert", "{VADER}", "booktitle", "ICWSM", 2014),
    )
}  # fmt: skip
_OF = {
    SCREENED: ("kramar2024", "hanna2024"),
    ABLATED: ("hutto2014", "rushing2024"),
    PATCHED: ("zhang2023",),
    CONTROLLED: ("zhang2023",),
    PATHS: ("goldowskydill2023",),
    CIRCUIT: ("wang2022",),
    CIRCUITS: ("mueller2025",),
    STEERED: ("rimsky2023", "turner2023"),
    PROBED: ("belinkov2022",),
    UNITS_SCREENED: ("rezaeijafari2025",),
}
_STATISTICS = ("efron1987", "benjamini1995", "westfall1993")
_OPTIMAL = "li2024"


def cited(experiments: Collection[str], ablations: Collection[str] = ()) -> list[str]:
    """Return the keys of what a paper cites that has such experiments, emolib not among them.

    Args:
        experiments: Names of those that were run.
        ablations: Kinds of ablation.
    """
    keys = dict.fromkeys(_STATISTICS)
    for name, papers in _OF.items():
        if name in experiments:
            keys |= dict.fromkeys(papers)
    if "optimal" in ablations:
        keys[_OPTIMAL] = None
    return list(keys)


def bibtex(keys: Collection[str], version: str) -> Iterator[str]:
    """Yield the entry of emolib and those of papers.

    Args:
        keys: What `cited` gave.
        version: Of emolib, as it was when the numbers were made.
    """
    yield OURS.format(version=version)
    yield from (_PAPERS[key] for key in keys)
