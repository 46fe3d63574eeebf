"""Shards of a run, started on engines that others have built, and what they say until they end.

No code here talks from one machine to another: the engine does, and the results folder, which all
machines see, is what shards have in common.

- ``options``: what ``python -m emolib launch`` takes; ``launch``: from a command to its shards and
  their progress.
- ``command``: what the command of a run says of itself.
- ``engines``: what an engine is, and which there are; ``jobs``: what is started on one.
- ``local``, ``slurm``: this machine and SLURM's arrays, by submitit; ``submitit_jobs``: what both
  share.
- ``ray_tasks``: a cluster of Ray.
- ``attached``: pytest in a process that ends with the one that started it.
"""
