"""Values that a definition is written with: numpy's are as good as Python's."""

from __future__ import annotations

import sys


def plain(value: object) -> object:
    """Return numpy's booleans, numbers and texts as Python's, and anything else as it is."""
    # Looked up, for a definition shall not wait for numpy: where it is absent, no value is of it.
    np = sys.modules.get("numpy")
    if np is None or isinstance(value, np.timedelta64):
        return value  # numpy calls a span an integer, but of which unit?
    return value.item() if isinstance(value, (np.bool_, np.number, np.str_)) else value
