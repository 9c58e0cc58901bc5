"""Exact features and scores from Kafka: what a definition is written with.

The machinery is imported by what uses it, so that a definition costs nothing to read.
"""

from noskew.dataflows.definition.stream import Model, Pipeline, Stream

__all__ = ["Model", "Pipeline", "Stream"]
