"""Adapters to Kafka: the only modules that know a client library or Bytewax."""
