"""Compiled loops on flat arrays; they know nothing of the rest of the package."""
