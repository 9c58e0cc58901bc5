"""Writes the generated parts of the README, and CONFORMANCE.md: `python tests/readme.py`."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import sys

from conformance_page import PAGE, page, summary
from paths import ROOT
from rich.console import Console

from noskew.dataflows.bench.figures import table
from noskew.dataflows.commands import check_text
from noskew.dataflows.commands.check import check
from noskew.dataflows.settings import Settings

README = ROOT / "README.md"
MEASURED = ROOT / "infra" / "measured.json"
HARNESS = ROOT / "tests" / "dataflows" / "test_card_fraud.py"
SHOWN = (
    "burst",
    "test_frauds_count_at_the_time_of_their_payments_and_once_they_are_known",
    "test_the_order_of_arrival_makes_no_difference_to_what_comes_after",
)
"""What the README shows of HARNESS."""

CAPACITY = (
    "noskew check dataflows/card_fraud.py --at 5/s --at labels=5/s --keys customer_id=100000 "
    "--keys terminal_id=10000 --memory 16GB"
)


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


def harness() -> str:
    """Return tests of the reference definition, as they stand."""
    source = HARNESS.read_text()
    written = {
        one.name: ast.get_source_segment(source, one)
        for one in ast.parse(source).body
        if isinstance(one, ast.FunctionDef)
    }
    tests = "\n\n\n".join(str(written[name]) for name in SHOWN)
    head = "from noskew.dataflows.card_fraud import labels, pipeline\n"
    head += "from noskew.dataflows.testing import members, shuffled, vectors\n"
    return f"```python\n{head}\n\n{tests}\n```"


def capacity() -> str:
    """Return what `noskew check --at` says of the reference definition, from its rates on."""
    words = shlex.split(CAPACITY)[2:]
    flags = list(zip(words[1::2], words[2::2], strict=True))
    report = check(
        ROOT / words[0],
        at=[value for flag, value in flags if flag == "--at"],
        keys=[value for flag, value in flags if flag == "--keys"],
        memory=next(value for flag, value in flags if flag == "--memory"),
    )
    said = io.StringIO()
    check_text.render(report, Console(file=said))
    lines = said.getvalue().partition("\nAt ")[2].splitlines()
    lines[0] = f"At {lines[0]}"
    return "\n".join(["```", f"$ {CAPACITY}", *[line.rstrip() for line in lines], "```"])


GENERATED = {
    "settings": settings_table,
    "measured": measured_table,
    "conformance": summary,
    "harness": harness,
    "capacity": capacity,
}


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
    PAGE.write_text(page())
    sys.stdout.write(f"README.md and {PAGE.name} rewritten\n")
