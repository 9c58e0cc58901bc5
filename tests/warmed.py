"""Imported once by the server that ``outages.Forked`` forks from: a run, and its machine code.

Loading machine code takes seconds, of every process anew. A process forked from one that has it
has it too, and does all else as a run does that was started by hand.
"""

from __future__ import annotations

import noskew.dataflows.cli
import noskew.dataflows.commands.run
import noskew.dataflows.model.scoring  # noqa: F401  # a run imports it when it starts
from noskew.dataflows.warm import warm

warm()
