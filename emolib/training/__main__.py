"""``python -m emolib.training``: train the embedded models; see `emolib.training.train`."""

from emolib.training.train import main

main()
