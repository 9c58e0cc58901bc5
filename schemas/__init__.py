"""Events on the wire: Avro schemas, framing, the registry, decoding into columns."""
