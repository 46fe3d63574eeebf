"""The commands around a run: a module each, which adds its parser and does its work.

- ``init``: a folder to begin in.
- ``plots``, ``report``, ``view``, ``compare``, ``diff``, ``export``: of what was recorded.
- ``runs``, ``pack``, ``merge``: the records themselves.
- ``columns``: what columns and settings mean.
- ``models``: what was verified of models. ``launch``: shards on an engine.
- ``shared``: options that several take.

`emolib.__main__` puts them together. Nothing heavy loads before a command runs.
"""
