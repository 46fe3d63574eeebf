"""One HTML file to explore a study in: what rows say, packed into a page that needs no network.

- ``page_writer``: the file as a whole. ``page_parts``: rows are read once, and each is seen by
  what follows. ``page_data``: what the scripts read.
- ``map_scores``: the scores that a map of heads can show; ``head_maps``: their values by head.
- ``study_prompts``: the prompts of a study; ``head_details``: what a head does pair by pair, the
  texts it changes, where it looks.
- ``study_views``: circuits, paths, steering, units. ``baseline_check``: effects beside a baseline.
- ``page_findings``, ``page_tables``, ``page_sections``, ``page_runs``: what is read without
  scripts. ``page_words``: what the glossary says, links, text in which nothing is hidden.
- ``page_blobs``: packed parts and the budget. ``assets``: template, style, scripts and the policy
  that lets nothing else in.

The browser's side is ``page.html``, ``page.css`` and the scripts beside this module.
"""
