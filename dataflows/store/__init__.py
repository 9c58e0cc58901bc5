"""Entity rows in Redis: their names and bytes, the mirror in memory, and the writer."""
