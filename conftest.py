"""Makes the plugin known in a checkout, where it may not be installed."""

pytest_plugins = ("pytest_emolib", "pytester")
