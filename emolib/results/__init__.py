"""What was recorded and where it came from: rows, files, baselines, provenance. No torch."""
