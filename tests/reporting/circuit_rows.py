"""Rows of circuits as a store would give them."""

from __future__ import annotations

from made import around, rows_of


def ends(name, value, reach=0.05):
    return {name: value, f"{name}_ci_low": value - reach, f"{name}_ci_high": value + reach}


def points(curve=(0, 0.7, 0.9, 1), **dims):
    """Give the rows of ``head_circuit``: of 0, 1, 2 and 5 heads."""
    records = []
    for order in ("ranking", "random"):
        for k, f in zip((0, 1, 2, 5), curve, strict=True):
            share = f if order == "ranking" or f in (0, 1) else f / 4
            record = {"order": order, "k": k} | ends("faithfulness", share)
            if order == "random":
                record |= {"draws_low": share - 0.2, "draws_high": share + 0.2}
            elif k:
                record["head"] = f"L0H{k}"
            records.append(record | {"logit_diff": around(share - 1)})
    own = {"order": "circuit", "k": 2} | ends("faithfulness", 0.9) | ends("held_out", 0.85)
    records.append(own | {"logit_diff": around(-0.1)})
    for head, loss in (("L0H1", 0.15), ("L0H2", 0.6)):
        record = {"order": "without", "head": head, "k": 1} | ends("held_out", 0.85 - loss)
        records.append(record | ends("loss", loss) | {"logit_diff": around(-loss)})
    records.append({"order": "rest", "k": 3} | ends("held_out", 0.02) | {"logit_diff": around(-1)})
    return rows_of("head_circuit", *records, **dims)


def summary(more=None, **dims):
    """Give the rows of ``circuit_summary``."""
    own = {"order": "ranking", "outside": "patch", "by": "|atp_ig|", "circuit": "L0H1+L0H2",
           "k": 2, "chosen": 0.91, "n_heads": 5}  # fmt: skip
    own |= ends("held_out", 0.85) | ends("rest", 0.02) | ends("cpr", 0.8) | ends("cmd", 0.2)
    random = {"order": "random", "outside": "patch", "n_heads": 5} | ends("cpr", 0.4)
    return rows_of("circuit_summary", own | (more or {}), random | ends("cmd", 0.6), **dims)
