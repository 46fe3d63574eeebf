"""What people look at, made from rows and results files. Loads no torch and no engine.

- ``tables``, ``markdown``, ``cells``: tables for files and terminals. ``inert``: text of users and
  models as each medium shows it without obeying it.
  ``short_table``: the one that a run ends with.
- ``plots``: which plots there are, of what ``drawable`` finds in the store or in files;
  ``score_plots``, ``effect_plots``, ``control_plots``, ``path_plots``, ``attention_plots``,
  ``circuit_plots``, ``dose_plots``, ``specificity_plots``, ``probe_plots``, ``unit_plots`` draw
  them in the ``panels`` and the look of ``plot_style``.
- ``report``: the report and its pages; its sections in ``report_findings``, ``report_methods``
  (with ``references``: what to cite), ``report_study``, ``report_heads``, ``report_paths``,
  ``report_circuits``, ``report_specificity``, ``report_probes``, ``report_steering``,
  ``report_units``, what they share in ``report_parts``.
- ``page``: the page to explore a study in, one HTML file; a package, see there.
- ``findings``: what a run found and did not, in sentences: of heads in ``found_heads``, how far to
  trust it in ``found_checks``, beyond single heads in ``found_methods``; ``carriers`` has the rule
  by which a head carries an emotion, ``finding`` what one is, ``wording`` figures in sentences.
- ``notes``: what readers of a run have to know beside its numbers.
- ``comparison``: models side by side. ``runs``: what was run, and when. ``merge``: results of
  several runs brought together, and tables made of all of them.
- ``export``: frames for other tools, of ``chosen_columns``, written line by line: as text by
  ``spool``, as parquet by ``row_groups``, for papers by ``latex``; and a run's results files.
- ``run_pairs``: two runs beside each other; ``run_pairs_told``: in a terminal and as JSON;
  ``run_pairs_page``: as a page, from ``templates/``.
- ``regression_check``: a run against its baseline, and how that is told. ``drifts``: effects that
  have moved, in words.
- ``glossary_page``: what columns and settings mean, for reading.
- ``experiments``: names of the project's own experiments.

Public are the names of ``__all__``; matplotlib, scipy and pandas are loaded where they are used.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.reporting.comparison import write_comparison
    from emolib.reporting.export import write_export
    from emolib.reporting.page.page_writer import write_page
    from emolib.reporting.plots import draw
    from emolib.reporting.report import write_report
    from emolib.reporting.tables import summary_table, write_tables
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.reporting.comparison": ["write_comparison"],
            "emolib.reporting.export": ["write_export"],
            "emolib.reporting.page.page_writer": ["write_page"],
            "emolib.reporting.plots": ["draw"],
            "emolib.reporting.report": ["write_report"],
            "emolib.reporting.tables": ["summary_table", "write_tables"],
        },
    )

__all__ = [
    "draw",
    "summary_table",
    "write_comparison",
    "write_export",
    "write_page",
    "write_report",
    "write_tables",
]
