"""A simulated world of payments: population, fraud, labels, into topics or Parquet."""
