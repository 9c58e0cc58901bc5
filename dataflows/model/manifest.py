"""A bundle's manifest: what the model is, what it was trained on, and the hashes of its files."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

LAYOUT: Final = 1
"""Version of the bundle's layout; a reader refuses any other."""


class Rows(BaseModel):
    """Row counts of a training; ``kept`` ones are in training or validation or the gap.

    in_files = unlabelled + dropped_warming + training + gap + validation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_files: int
    unlabelled: int
    warming: int
    incomplete: int
    dropped_warming: int
    training: int
    gap: int
    validation: int
    training_positive: int
    validation_positive: int


class Metrics(BaseModel):
    """How the model does on the validation rows; null where it cannot be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: float | None
    average_precision: float | None
    binary_logloss: float | None
    precision_at_100: float | None


class Manifest(BaseModel):
    """``manifest.json``. ``features`` is in vector order; hashes are SHA-256 in hex.

    ``lightgbm`` is the version that trained the model. There is no time of making in it, so equal
    inputs give an equal bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: int
    model: str
    model_sha256: str
    golden_sha256: str
    fingerprint: str
    features: list[str]
    lightgbm: str
    parameters: dict[str, str | int | float | bool]
    rows: Rows
    metrics: Metrics
    sources: dict[str, Any]

    def to_json(self) -> str:
        """Return the file's text: one JSON object, with ``sha256`` over all the rest."""
        fields = self.model_dump()
        fields["sha256"] = _digest(fields)
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the file's text. Raises ``ValueError`` that says what is wrong with it."""
        try:
            fields = json.loads(text)
        except RecursionError as error:
            message = "nested too deeply"
            raise ValueError(message) from error
        if not isinstance(fields, dict) or "layout" not in fields:
            message = "it is not a bundle's manifest: no field 'layout'"
            raise ValueError(message)
        if fields["layout"] != LAYOUT:
            message = f"its layout is {fields['layout']!r}, this version of noskew reads {LAYOUT}"
            raise ValueError(message)
        recorded = fields.pop("sha256", None)
        if recorded != _digest(fields):
            message = f"its own hash says {recorded}, its content has {_digest(fields)}"
            raise ValueError(message)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            message = f"field {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ValueError(message) from error


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
