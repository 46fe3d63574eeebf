"""What people look at: tables, plots, the report, comparisons, exports. No torch, no engine."""
