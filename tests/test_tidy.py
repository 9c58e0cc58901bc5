"""House rules as tests: what may import what, how long things are, what must not be written."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

from noskew.kernels import layout
from noskew.schemas import columns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PACKAGES: Final = ("schemas", "kernels", "dataflows", "infra")

_BASE: Final = frozenset({"schemas", "kernels", "errors"})

# Who may import whom. The parts of dataflows go by their first name below it. A new arrow is a
# decision about the design: write it here, and why, or turn the dependency round.
ARROWS: Final[dict[str, frozenset[str]]] = {
    "schemas": frozenset(),
    "kernels": frozenset(),
    "infra": frozenset(),
    "errors": frozenset(),
    "definition": _BASE,
    "settings": _BASE,
    # Listens to signals before anything heavy is imported.
    "stop": frozenset({"errors"}),
    "core": _BASE | {"definition"},
    "store": _BASE | {"definition", "core", "settings"},
    "model": _BASE | {"definition", "core", "settings"},
    # The sink writes rows after delivery, so it knows the store, not the other way round.
    "kafka": _BASE | {"definition", "core", "settings", "store"},
    "client": _BASE | {"definition", "store"},
    "simulation": _BASE | {"kafka", "settings"},
    "testing": _BASE | {"definition", "core"},
    "pipeline": _BASE | {"definition", "core", "kafka", "store", "model", "settings"},
    # Opens servers and files and hands the parts to pipeline.build().
    "assemble": _BASE | {"definition", "core", "kafka", "store", "model", "settings", "pipeline"},
    # Compiles every kernel at install.
    "warm": _BASE | {"definition", "core", "kafka", "store", "model", "simulation", "card_fraud"},
    # A user's file: it sees what users see.
    "card_fraud": frozenset({"dataflows"}),
    # The names users import: `from noskew.dataflows import Stream`.
    "dataflows": frozenset({"definition"}),
    "commands": _BASE
    | {"definition", "core", "kafka", "store", "model", "simulation", "client", "settings"}
    | {"pipeline", "assemble", "testing", "infra", "bench", "stop"},
    # Commands are measured as their users start them: as processes, so none is imported. What is
    # measured is a definition, written as users write one.
    "bench": _BASE | {"definition", "core", "kafka", "model", "simulation", "infra", "dataflows"},
    "cli": _BASE | {"commands", "settings", "stop", "infra"},
}

BASELINE: Final = "dataflows/bench/baseline.py"

# Where each dependency may be imported: one home, so that it can be replaced there.
HOMES: Final[dict[str, tuple[str, ...]]] = {
    "numba": ("kernels/jit.py", "kernels/linking.py"),
    "llvmlite": ("kernels/jit.py",),
    # The baseline is the same job as a user would write it by hand, with the libraries themselves.
    "bytewax": (
        "dataflows/kafka/",
        "dataflows/pipeline.py",
        "dataflows/commands/run.py",
        BASELINE,
    ),
    "confluent_kafka": (
        "dataflows/kafka/",
        "schemas/registry.py",
        # The mock broker is a part of librdkafka that only this package carries.
        "infra/mock.py",
        BASELINE,
    ),
    # The transport below confluent's registry client, for the names of its errors.
    "httpx2": ("schemas/registry.py",),
    "redis": ("dataflows/store/", "dataflows/client.py", BASELINE),
    "lightgbm": ("dataflows/model/", BASELINE),
    "fastavro": ("schemas/", BASELINE),
    "typer": ("dataflows/cli.py",),
    "pydantic_settings": ("dataflows/settings.py",),
    "pydantic": ("dataflows/settings.py", "dataflows/model/manifest.py"),
    # The batch engine the kernels are measured beside, where it is installed.
    "duckdb": ("dataflows/bench/sql.py",),
    # These are for tests.
    "polars": (),
    "hypothesis": (),
    "pytest": (),
    "xxhash": (),
}

MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 70

# Run by a person, by make or by Python itself, so nothing imports them.
ENTRIES: Final = (
    "dataflows/cli.py",
    "dataflows/card_fraud.py",
    "dataflows/warm.py",
)

# What must not be written, with what to do instead. Split, so that this file may be searched too.
BANNED: Final[dict[str, str]] = {
    r"fastmath\s*=\s*" + "True": "it changes bits between CPUs; DESIGN 3.7",
    r"parallel\s*=\s*" + "True": "it makes the order of writes depend on threads; DESIGN 3.7",
    r"(?<![\w./}])/(work|root|home/\w+)" + "/": "a path of one machine; take it from a setting",
    r"pypi\." + "org|files" + r"\.pythonhosted|repo1?\.maven|crates" + r"\.io|npmjs\.": (
        "no package registry is named; what the machine is set up with is used"
    ),
    r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b": "do it, or open an issue",
    r"(?i)\bplace" + r"holder\b": "write the real thing",
}

# A reason is at least a word or two behind the rule.
SILENCERS: Final = {
    "noqa": re.compile(r"#\s*no" r"qa(?P<rules>:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?(?P<reason>.*)"),
    "type: ignore": re.compile(r"#\s*type:\s*ig" r"nore(?P<rules>\[[\w, -]+\])?(?P<reason>.*)"),
}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    found = chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders)
    return tuple(sorted(path for path in found if "__pycache__" not in path.parts))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> list[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever in it."""
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: write the absolute name"
            names += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return names


def group(module: str) -> str:
    """The row of ARROWS for a module: `noskew.dataflows.core.table` is of `core`."""
    parts = module.split(".")[1:]
    if parts[0] != "dataflows":
        return parts[0]
    inner = parts[1] if len(parts) > 1 else ""
    return inner if inner in ARROWS else "dataflows"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("noskew", *(part for part in parts if part != "__init__")))


@cache
def texts() -> tuple[Path, ...]:
    """Every text file that is ours."""
    kinds = {".py", ".md", ".toml", ".xml", ".lua", ".avsc", ".sh", ".yaml", ".yml"}
    found = [
        path
        for folder in (*PACKAGES, "tests")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in kinds and "__pycache__" not in path.parts
    ]
    top = [path for path in sorted(ROOT.iterdir()) if path.suffix in kinds]
    return (*found, *top, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "infra/requirements.lock")


def length(node: ast.FunctionDef) -> int:
    """Lines of a function, its docstring not counted."""
    told = node.body[0] if ast.get_docstring(node) else None
    text = (told.end_lineno or told.lineno) - told.lineno + 1 if told else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - text


def report(faults: Iterable[str]) -> None:
    """Fail with all faults at once."""
    found = list(faults)
    assert not found, "\n".join([f"{len(found)} to mend:", *found])


def test_imports_point_one_way() -> None:
    faults = []
    for path in sources(*PACKAGES):
        own = group(module_of(path))
        if own == "dataflows" and path.name != "__init__.py":
            faults.append(f"{name_of(path)} has no row in ARROWS: add one")
        for line, name in imported(path):
            target = group(name) if name.startswith("noskew.") else own
            if name.split(".")[0] in PACKAGES:
                faults.append(f"{name_of(path)}:{line} imports {name}: write noskew.{name}")
            if target != own and target not in ARROWS[own]:
                faults.append(
                    f"{name_of(path)}:{line}: {own} may not import {target} ({name}), only "
                    f"{', '.join(sorted(ARROWS[own])) or 'nothing of ours'}: turn the dependency "
                    "round, or add the arrow to ARROWS with its reason"
                )
    report(faults)


def test_the_arrows_have_no_circle() -> None:
    left = dict(ARROWS)
    while left:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        assert free, f"a circle among {', '.join(sorted(left))}"
        left = {name: targets for name, targets in left.items() if name not in free}


def test_each_dependency_is_imported_in_its_home_only() -> None:
    report(
        f"{name_of(path)}:{line} imports {name}, which belongs in "
        f"{', '.join(HOMES[name.split('.')[0]]) or 'tests'}: add what you need there"
        for path in sources(*PACKAGES)
        for line, name in imported(path)
        if not name_of(path).startswith(HOMES.get(name.split(".")[0], ("",)))
    )


def test_modules_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(*PACKAGES, "tests")}

    report(
        f"{name_of(path)} has {lines} lines, more than {MODULE_LINES}: split it by what changes "
        "together"
        for path, lines in lengths.items()
        if lines > MODULE_LINES
    )


def test_functions_are_short() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: {node.name} has {length(node)} lines without its "
        f"docstring, more than {FUNCTION_LINES}: push the loops down into functions"
        for path in sources(*PACKAGES, "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and length(node) > FUNCTION_LINES
    )


def test_a_module_begins_by_saying_what_it_is_for() -> None:
    told = {path: ast.get_docstring(tree(path)) or "" for path in sources(*PACKAGES, "tests")}

    report(
        f"{name_of(path)}: begin with a docstring whose first sentence says what it is for"
        for path, text in told.items()
        if not re.match(r".{20,}?[.:?!](\s|$)", text, re.DOTALL)
    )


def test_every_module_is_used() -> None:
    imports = {path: {n for _, n in imported(path)} for path in sources(*PACKAGES, "tests")}
    faults = []
    for path in sources(*PACKAGES):
        own = module_of(path)
        used = (name for other, names in imports.items() if other != path for name in names)
        if path.name == "__init__.py" or name_of(path) in ENTRIES:
            continue
        if not any(name == own or name.startswith(own + ".") for name in used):
            faults.append(f"{name_of(path)} is imported by nothing: remove it, or see ENTRIES")
    report(faults)


def test_nothing_banned_is_written() -> None:
    report(
        f"{name_of(path)}:{number}: {found[0]!r}: {instead}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for pattern, instead in BANNED.items()
        if (found := re.search(pattern, line))
    )


def test_every_silenced_rule_is_named_with_a_reason() -> None:
    report(
        f"{name_of(path)}:{number}: name the rule and say why, as in '# {kind}: RULE - reason'"
        for path in sources(*PACKAGES, "tests")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for kind, pattern in SILENCERS.items()
        if (found := pattern.search(line))
        and not (found["rules"] and len(found["reason"].strip(" #-:")) >= 8)
    )


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    report(
        f"{name_of(path)}:{node.lineno} sleeps: wait with waiting.until(condition)"
        for path in sources("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) == "sleep"
    )


def test_test_folders_are_no_packages_and_names_are_unique() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py")), "tests run with importmode=importlib"
    names = [path.name for path in sources("tests") if path.name != "conftest.py"]
    twice = sorted({name for name in names if names.count(name) > 1})

    assert not twice, f"two test modules are called {', '.join(twice)}; give one another name"


def test_the_null_of_columns_is_the_null_of_kernels() -> None:
    assert columns.NULL == layout.NULL, "schemas/columns.py and kernels/layout.py must agree"


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_and_data_file_is_packaged() -> None:
    settings = project()["tool"]["setuptools"]
    folders = {path.parent for path in sources(*PACKAGES)}
    names = {module_of(folder) for folder in folders}
    data = settings["package-data"]

    assert set(settings["packages"]) == names, "[tool.setuptools] packages differs from the folders"
    for folder in folders:
        for path in folder.iterdir():
            if path.is_dir() or path.suffix == ".py" or path.name == "requirements.lock":
                continue
            patterns = data.get(module_of(folder), [])
            assert any(path.match(pattern) for pattern in patterns), (
                f"{name_of(path)} would be missing from a wheel: add it to package-data"
            )


def test_the_lock_has_hashes_fits_the_project_and_names_no_index() -> None:
    text = (ROOT / "infra" / "requirements.lock").read_text()
    entries = re.sub(r"\\\n\s*", "", text).splitlines()
    locked: dict[str, str] = {}
    for entry in entries:
        if not entry or entry.startswith("#"):
            continue
        requirement, *hashes = entry.split(" --hash=")
        found = Requirement(requirement)
        assert hashes, f"{found.name} has no hash; run make lock"
        assert not found.url, f"{found.name} is locked to an address; run make lock"
        (pin,) = found.specifier
        assert pin.operator == "==", f"{found} is no pin; run make lock"
        locked[canonicalize_name(found.name)] = pin.version
    assert not re.search(r"https?:|--index|--find-links|file:", text), "run make lock"

    about = project()["project"]
    wanted = chain(about["dependencies"], *about["optional-dependencies"].values())
    for line in wanted:
        need = Requirement(line)
        name = canonicalize_name(need.name)
        if name != "noskew":
            assert need.specifier.contains(locked.get(name, "0")), (
                f"pyproject.toml wants {need}, the lock has {locked.get(name)}; run make lock"
            )


def test_the_changelog_keeps_its_form() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    version = project()["project"]["version"]
    heads = [line for line in lines if line.startswith("## ")]
    kinds = [line for line in lines if line.startswith("### ")]

    assert lines[0] == "# Changelog", "CHANGELOG.md begins with '# Changelog'"
    for head in heads:
        assert re.fullmatch(r"## \[(Unreleased\]|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)", head), (
            f"{head!r}: write '## [Unreleased]' or '## [1.2.3] - 2030-01-31'"
        )
    for kind in kinds:
        assert kind[4:] in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}, (
            f"{kind!r} is no kind of change of Keep a Changelog"
        )
    assert any("Unreleased" in head or version in head for head in heads[:1]), (
        f"CHANGELOG.md says nothing of {version}: add '## [Unreleased]' on top"
    )
