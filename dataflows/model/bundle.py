"""A bundle: a model with everything needed to trust it, in one directory.

``model.txt``      the forest as LightGBM writes it
``manifest.json``  name, hashes, fingerprint, feature names, parameters, counts, metrics, sources
``golden.npz``     vectors and the margins they must give, bit for bit

LightGBM ends the process on most damaged files and scores wrongly from some, so nothing is parsed
before its SHA-256 agrees with the manifest, and the manifest's own with its content. Against
accidents this is enough, and loading needs no child process: text that passes is the text that
was loaded once when the bundle was saved. It is no protection against a forged bundle, which can
carry fitting hashes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from noskew.dataflows.errors import UsageError
from noskew.dataflows.model import booster as lgb
from noskew.dataflows.model.golden import Golden
from noskew.dataflows.model.manifest import Manifest
from noskew.dataflows.model.names import difference

if TYPE_CHECKING:
    from pathlib import Path

    import lightgbm

    from noskew.dataflows.definition.plan import Plan

MODEL: Final = "model.txt"
MANIFEST: Final = "manifest.json"
GOLDEN: Final = "golden.npz"
FILES: Final = frozenset({MODEL, MANIFEST, GOLDEN})

_RETRAIN: Final = "make the bundle again with `noskew train`, or restore it from where it came"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded, checked bundle. ``text`` is the model's text, ``booster`` the parsed model."""

    manifest: Manifest
    text: str
    golden: Golden
    booster: lightgbm.Booster

    @property
    def sha256(self) -> bytes:
        """Return the 32-byte hash of the model's text, which names the model in every score."""
        return bytes.fromhex(self.manifest.model_sha256)

    @classmethod
    def load(cls, directory: Path, plan: Plan, *, definition: str = "DEFINITION.py") -> Self:
        """Read and check a bundle made for this plan.

        ``definition`` is the definition's path, for the commands a message shows. Raises
        ``UsageError`` if the bundle is missing or damaged, has an unknown layout, was trained for
        another plan, or gives other margins on this machine than where it was saved.
        """
        manifest = _read_manifest(directory, definition)
        text = _read_hashed(directory / MODEL, manifest.model_sha256)
        golden_bytes = _read_hashed(directory / GOLDEN, manifest.golden_sha256)
        _check_plan(directory, manifest, plan)
        try:
            golden = Golden.from_bytes(golden_bytes)
        except ValueError as error:
            message = f"{directory / GOLDEN}: {error}; {_RETRAIN}"
            raise UsageError(message) from error
        booster = lgb.load(text.decode())
        if booster.num_feature() != len(manifest.features):
            message = (
                f"{directory / MODEL} takes {booster.num_feature()} features, its manifest names "
                f"{len(manifest.features)}; {_RETRAIN}"
            )
            raise UsageError(message)
        bundle = cls(manifest, text.decode(), golden, booster)
        bundle.check_golden(directory)
        return bundle

    def check_golden(self, directory: Path) -> None:
        """Compare the golden rows' margins bit for bit. Raises ``UsageError`` at a difference."""
        margins = lgb.margins(self.booster, self.golden.vectors, 1)
        row = self.golden.first_difference(margins)
        if row is not None:
            message = (
                f"{directory}: golden row {row} gives another margin here than where the bundle "
                f"was saved:\n  recorded  {self.golden.margins[row]!r}\n  here      "
                f"{margins[row]!r}\nIt was saved with LightGBM {self.manifest.lightgbm}, this is "
                f"{lgb.VERSION}: install that version, or train again with `noskew train`"
            )
            raise UsageError(message)

    @staticmethod
    def save(directory: Path, manifest: Manifest, text: str, golden: Golden) -> None:
        """Write a bundle so that ``directory`` is never seen half-written.

        The files are written beside it, fsynced, and renamed into place; an older bundle there
        is replaced. Raises ``UsageError`` if ``directory`` holds anything else.
        """
        check_target(directory)
        target = directory.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        writing = target.with_name(f".{target.name}.writing-{os.getpid()}")
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        try:
            _write(writing / MODEL, text.encode())
            _write(writing / GOLDEN, golden.to_bytes())
            _write(writing / MANIFEST, manifest.to_json().encode())
            _sync_directory(writing)
            _replace(writing, target)
        finally:
            shutil.rmtree(writing, ignore_errors=True)
        _sync_directory(target.parent)


def check_target(directory: Path) -> None:
    """Raise ``UsageError`` unless a bundle may be written to ``directory``."""
    if not directory.exists():
        return
    if not directory.is_dir():
        message = f"{directory} is a file; a bundle is a directory: choose another --out"
        raise UsageError(message)
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in FILES)
    if foreign:
        message = (
            f"{directory} holds {foreign[0]!r}, which is not part of a bundle, and a bundle "
            "replaces its whole directory: choose another --out, or empty this one"
        )
        raise UsageError(message)


def hash_file(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(directory: Path, definition: str) -> Manifest:
    path = directory / MANIFEST
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = (
            f"there is no bundle at {directory}/ ({path} is missing); make one with\n"
            f"  noskew replay {definition} --input PAYMENTS.parquet --out features.parquet\n"
            f"  noskew train {definition} --input features.parquet --labels LABELS.parquet "
            f"--out {directory}/\nor name one with --model PATH"
        )
        raise UsageError(message) from error
    except (OSError, ValueError) as error:
        message = f"{path} cannot be used: {error}; {_RETRAIN}"
        raise UsageError(message) from error


def _read_hashed(path: Path, recorded: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; {_RETRAIN}"
        raise UsageError(message) from error
    found = hashlib.sha256(data).hexdigest()
    if found != recorded:
        message = (
            f"{path} is damaged: the manifest records SHA-256 {recorded}, the file has {found}; "
            f"{_RETRAIN}"
        )
        raise UsageError(message)
    return data


def _check_plan(directory: Path, manifest: Manifest, plan: Plan) -> None:
    is_same_meaning = manifest.fingerprint == plan.fingerprint.hex()
    lines = difference(plan.names, manifest.features, renamed=is_same_meaning)
    if is_same_meaning and not lines:
        return
    if not lines:
        lines = ["  none: the names agree, but windows, columns, types or other settings differ"]
    what = (
        f"the same fingerprint {manifest.fingerprint}, but other feature names"
        if is_same_meaning
        else f"fingerprint {manifest.fingerprint}, the definition has {plan.fingerprint.hex()}"
    )
    message = (
        f"bundle of another plan: {directory} has {what}.\n"
        "Its feature names, compared with the definition's:\n" + "\n".join(lines) + "\n"
        "Replay and train for this definition (`noskew replay`, `noskew train`), or name "
        "another bundle with --model PATH"
    )
    raise UsageError(message)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; an old bundle there is moved aside first, then deleted."""
    if not target.exists():
        source.rename(target)
        return
    aside = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
