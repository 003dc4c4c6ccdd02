"""The page of one run, report.html: a file for each group of its sections."""
