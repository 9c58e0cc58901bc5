"""Measurements: each part beside the obvious alternative, in the same run, results compared."""
