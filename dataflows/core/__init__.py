"""The engine-free core: batches, order, features and journal, used by live runs and replay."""
