"""Writes the generated parts of the README: `python tests/readme.py` rewrites them in place."""

from __future__ import annotations

import json
import re
import sys

from paths import ROOT

from noskew.dataflows.bench.figures import table
from noskew.dataflows.settings import Settings

README = ROOT / "README.md"
MEASURED = ROOT / "infra" / "measured.json"


def settings_table() -> str:
    """Return the table of settings: flag, variable, default, meaning."""
    lines = ["| flag | variable | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        meaning = field.description
        lines.append(f"| `{flag}` | `NOSKEW_{name.upper()}` | `{field.default}` | {meaning} |")
    return "\n".join(lines)


def measured_table() -> str:
    """Return the table of measured numbers, from the file that `noskew bench` made."""
    return table(json.loads(MEASURED.read_text()))


GENERATED = {"settings": settings_table, "measured": measured_table}


def part(text: str, name: str) -> str:
    """Return what stands between a part's marks."""
    found = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if found is None:
        raise LookupError(f"the README has no part {name!r}")
    return found[1]


def rewritten(text: str) -> str:
    """Return the README with every generated part made anew."""
    for name, make in GENERATED.items():
        old = f"<!-- generated: {name} -->\n{part(text, name)}<!-- end -->"
        text = text.replace(old, f"<!-- generated: {name} -->\n{make()}\n<!-- end -->")
    return text


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text()))
    sys.stdout.write("README.md rewritten\n")
