"""The model: bundles, scoring, and training; the one place that knows LightGBM."""
