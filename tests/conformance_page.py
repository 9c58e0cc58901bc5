"""Renders the boundary cases as ``CONFORMANCE.md``; ``make readme`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance import MARKS, cases, document
from paths import ROOT

if TYPE_CHECKING:
    from conformance import Answer, Case

PAGE: Final = ROOT / "tests" / "CONFORMANCE.md"

_ABOUT: Final = """\
# Where a window ends: boundary cases, system by system

Generated from [`conformance.json`](conformance.json) by `make readme`. Each case is a few events of
one card, one of which is *asked*: what does a feature of it, as of its own time T, come to? Each
value is computed again from the interval its system documents
([`conformance.py`](conformance.py)), and `Pipeline(semantics=...)` is asked for it
([`test_conformance.py`](test_conformance.py)): what is unmarked or marked r here is what we give,
and what is marked ✗ is not.

- unmarked: **exact**, live and in a replay
- **r**: exact, in a **replay only**: events of one time see each other, also those that arrive
  later
- **✗**: **not reproduced**; why stands below
- a dash: not asked, because the system has no such thing or nothing was found about it

T is 12:00:00 UTC, where a case does not say otherwise; the asked event is in bold.
"""


def page() -> str:
    """Return the page: how many of each, every case, what is not reproduced, the sources."""
    parts = [_ABOUT, "## Summary", "", summary(), "", "## Cases", "", *_cases(), "", *_reasons()]
    return "\n".join([*parts, "", *_sources()]) + "\n"


def summary() -> str:
    """Return how we stand to each system, as a Markdown table."""
    lines = [
        "| system | `semantics=` | exact | replay only | not reproduced |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    total = dict.fromkeys(MARKS, 0)
    for system, about in _systems().items():
        statuses = [case.answers[system].status for case in cases() if system in case.answers]
        counts = {status: statuses.count(status) for status in MARKS}
        total = {status: total[status] + counts[status] for status in MARKS}
        preset = f"`{about['preset']}`" if about["preset"] else "not offered"
        cells = " | ".join(str(count or "") for count in counts.values())
        lines.append(f"| {about['title']}: {about['what']} | {preset} | {cells} |")
    cells = " | ".join(map(str, total.values()))
    return "\n".join([*lines, f"| {len(cases())} cases | | {cells} |"])


def shown(found: Answer | None) -> str:
    """Return a system's answer as a cell: the value and the mark of how we stand to it."""
    if found is None:
        return "–"
    return ("null" if found.value is None else str(found.value)) + MARKS[found.status]


def _systems() -> dict[str, Any]:
    systems: dict[str, Any] = document()["systems"]
    return systems


def _cases() -> list[str]:
    titles = [about["title"] for about in _systems().values()]
    heads = ["case", "feature", "events, in order of arrival: value", *titles]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for case, written in zip(cases(), document()["cases"], strict=True):
        cells = [shown(case.answers.get(system)) for system in _systems()]
        lines.append(_row([case.name, _feature(case), _events(written["events"]), *cells]))
    return lines


def _feature(case: Case) -> str:
    """Return what is asked for: statistic, window, settings, and T where it is not noon."""
    what = {"over": "all" if case.over is None else case.over, **case.settings}
    if case.allowed_lateness != "1h":
        what["allowed_lateness"] = case.allowed_lateness
    clock = case.as_of[11:19]
    at = [] if clock == "12:00:00" else [f"T = {clock}"]
    other = ["of another stream"] if case.rows else []
    return ", ".join([case.stat, *(f"{name} {value}" for name, value in what.items()), *other, *at])


def _events(written: list[list[Any]]) -> str:
    """Return a story's events: time from T on and value; the asked one is T itself, in bold."""
    told = []
    for at, amount, *tags in written:
        one = (
            f"{'T' if at == '0s' else at.replace('-', '−')}: {'null' if amount is None else amount}"
        )
        if "other card" in tags:
            one += " (another card)"
        told.append(f"**{one}**" if "asked" in tags else one)
    return ", ".join(told)


def _reasons() -> list[str]:
    reasons: dict[str, list[str]] = {}
    for case in cases():
        for system, found in case.answers.items():
            if found.why:
                reasons.setdefault(found.why, []).append(
                    f"{_systems()[system]['title']}, {case.name}: we give "
                    + ("null" if found.ours is None else f"{found.ours:g}")
                )
    lines = [f"- {why} ({'; '.join(places)})" for why, places in reasons.items()]
    return ["## Not reproduced, and why", "", *lines]


def _sources() -> list[str]:
    """Return, per system, what each kind of case was concluded from, and where that stands."""
    lines = ["## Sources"]
    for system, about in _systems().items():
        kinds: dict[str, list[str]] = {}
        for case in cases():
            if system in case.answers:
                kinds.setdefault(case.about, []).append(case.name)
        lines += ["", f"### {about['title']} ({about['version']})", ""]
        lines += [_row(["cases", "what it says", "source", "how"]), _row(["---"] * 4)]
        for kind, names in kinds.items():
            claim = about["claims"][kind]
            address = claim["address"]
            if address.startswith("https:"):
                address = f"[{address.rsplit('/', 1)[-1]}]({address})"
            lines.append(_row([f"{kind} ({len(names)})", claim["claim"], address, claim["how"]]))
    lines += ["", "### Which case is of which kind", ""]
    kinds = {}
    for case in cases():
        kinds.setdefault(case.about, []).append(case.name)
    return lines + [f"- **{kind}**: {'; '.join(names)}" for kind, names in kinds.items()]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
