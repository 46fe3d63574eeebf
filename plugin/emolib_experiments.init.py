"""The project's own experiments, as a wheel installs them: `pytest --pyargs emolib_experiments`.

In a checkout they are in `experiments/`, where pytest runs them by that path.
"""
