"""Statistics on plain arrays: summaries with intervals, significance, the regression rule."""
