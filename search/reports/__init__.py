"""Reports: curves, intervals, tables, pictures and pages of finished runs."""
