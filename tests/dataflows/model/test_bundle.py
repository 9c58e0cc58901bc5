"""A bundle is loaded whole and for its plan, or refused with the reason; nothing crashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from noskew.dataflows.errors import UsageError
from noskew.dataflows.model.booster import thresholds
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.golden import ROWS, Golden

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan


@pytest.fixture
def copied(saved: tuple[Plan, Path], tmp_path: Path) -> tuple[Plan, Path]:
    plan, source = saved
    return plan, shutil.copytree(source, tmp_path / "bundle")


def resign(directory: Path, **changes: object) -> None:
    """Change the manifest and make its own hash fit again, as a forger or a bug would."""
    fields = json.loads((directory / "manifest.json").read_text())
    fields.update(changes)
    fields.pop("sha256")
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    fields["sha256"] = hashlib.sha256(canonical).hexdigest()
    (directory / "manifest.json").write_text(json.dumps(fields))


def test_a_saved_bundle_loads_with_its_plan(saved: tuple[Plan, Path]) -> None:
    plan, directory = saved
    bundle = Bundle.load(directory, plan)
    assert bundle.manifest.features == list(plan.names)
    assert bundle.sha256 == hashlib.sha256((directory / "model.txt").read_bytes()).digest()
    assert bundle.golden.vectors.shape == (len(plan.names), ROWS)


def test_golden_rows_stand_on_both_sides_of_thresholds(saved: tuple[Plan, Path]) -> None:
    plan, directory = saved
    bundle = Bundle.load(directory, plan)
    for column, points in zip(bundle.golden.vectors, thresholds(bundle.text, 4), strict=True):
        assert np.isnan(column).any()
        assert np.isinf(column).any()
        assert (column == 5e-324).any()
        assert np.isin(points, column).any()
        assert np.isin(np.nextafter(points, -np.inf), column).any()
        assert np.isin(np.nextafter(points, np.inf), column).any()


def test_a_missing_bundle_names_the_path_and_the_commands(
    saved: tuple[Plan, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        Bundle.load(tmp_path / "absent", saved[0], definition="card.py")
    message = str(caught.value)
    assert str(tmp_path / "absent") in message
    assert "noskew replay card.py --input PAYMENTS.parquet --out features.parquet" in message
    assert "noskew train card.py --input features.parquet" in message
    assert "--model PATH" in message


def test_a_bundle_of_another_plan_is_refused_with_the_names_that_differ(
    saved: tuple[Plan, Path],
) -> None:
    plan, directory = saved
    names = ("hour", "amount_cents", "customer_id_count_1d", "customer_id_mean_30d")
    other = replace(plan, names=names, fingerprint=bytes(32))
    with pytest.raises(UsageError) as caught:
        Bundle.load(directory, other)
    message = str(caught.value)
    assert plan.fingerprint.hex() in message
    assert other.fingerprint.hex() in message
    assert "missing  customer_id_mean_30d (place 3)" in message
    assert "added    customer_id_mean_7d (place 3)" in message
    assert "moved    hour (place 0, there 1)" in message
    assert "moved    amount_cents (place 1, there 0)" in message
    assert "customer_id_count_1d" not in message


def test_another_plan_of_the_same_names_says_that_the_names_agree(
    saved: tuple[Plan, Path],
) -> None:
    plan, directory = saved
    with pytest.raises(UsageError, match="the names agree, but windows"):
        Bundle.load(directory, replace(plan, fingerprint=bytes(32)))


def test_an_equal_fingerprint_with_other_names_is_refused(saved: tuple[Plan, Path]) -> None:
    plan, directory = saved
    other = replace(plan, names=(*plan.names[:3], "mean_amount"))
    with pytest.raises(UsageError) as caught:
        Bundle.load(directory, other)
    assert "renamed  customer_id_mean_7d -> mean_amount (place 3)" in str(caught.value)
    assert "the same fingerprint" in str(caught.value)


@pytest.mark.parametrize("name", ["model.txt", "golden.npz"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_file_is_named_before_it_is_parsed(
    copied: tuple[Plan, Path], name: str, damage: str
) -> None:
    plan, directory = copied
    path = directory / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        size = {"flip": len(data), "truncate": len(data) // 2, "empty": 0}[damage]
        path.write_bytes(data[:size])
    with pytest.raises(UsageError) as caught:
        Bundle.load(directory, plan)
    assert str(path) in str(caught.value)
    assert "noskew train" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "no field 'layout'"),
        ("{}", "no field 'layout'"),
        ('{"layout": 2}', "its layout is 2, this version of noskew reads 1"),
        ('{"layout": 1}', "its own hash says None"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_the_reason(
    copied: tuple[Plan, Path], text: str, reason: str
) -> None:
    plan, directory = copied
    (directory / "manifest.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        Bundle.load(directory, plan)
    assert reason in str(caught.value)


def test_every_flipped_byte_of_a_manifest_is_noticed(copied: tuple[Plan, Path]) -> None:
    plan, directory = copied
    path = directory / "manifest.json"
    whole = path.read_bytes()
    for position in range(0, len(whole) - 1, 7):
        damaged = bytearray(whole)
        damaged[position] ^= 2
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"manifest\.json cannot be used"):
            Bundle.load(directory, plan)


def test_a_wrong_type_in_a_manifest_names_the_field(copied: tuple[Plan, Path]) -> None:
    plan, directory = copied
    resign(directory, features="amount")
    with pytest.raises(UsageError, match="field features: Input should be a valid list"):
        Bundle.load(directory, plan)


def test_a_golden_margin_off_by_one_bit_names_its_row_and_both_margins(
    copied: tuple[Plan, Path],
) -> None:
    plan, directory = copied
    golden = Bundle.load(directory, plan).golden
    margins = golden.margins.copy()
    margins[17] = np.nextafter(margins[17], np.inf)
    data = Golden(golden.vectors, margins).to_bytes()
    (directory / "golden.npz").write_bytes(data)
    resign(directory, golden_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(UsageError) as caught:
        Bundle.load(directory, plan)
    assert "golden row 17" in str(caught.value)
    assert repr(margins[17]) in str(caught.value)
    assert repr(golden.margins[17]) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_golden_rows_that_are_no_archive_are_refused(
    copied: tuple[Plan, Path], data: bytes
) -> None:
    plan, directory = copied
    (directory / "golden.npz").write_bytes(data)
    resign(directory, golden_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(UsageError, match=r"golden\.npz: "):
        Bundle.load(directory, plan)


def test_a_model_of_fewer_features_than_its_manifest_is_refused(
    copied: tuple[Plan, Path],
) -> None:
    plan, directory = copied
    names = [*plan.names, "more"]
    resign(directory, features=names)
    with pytest.raises(UsageError, match="takes 4 features, its manifest names 5"):
        Bundle.load(directory, replace(plan, names=tuple(names)))


def test_saving_replaces_an_older_bundle_and_leaves_nothing_beside_it(
    saved: tuple[Plan, Path], tmp_path: Path
) -> None:
    bundle = Bundle.load(saved[1], saved[0])
    target = tmp_path / "out"
    target.mkdir()
    (target / "model.txt").write_text("an older model")
    Bundle.save(target, bundle.manifest, bundle.text, bundle.golden)
    assert Bundle.load(target, saved[0]).manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_save_that_fails_leaves_the_older_bundle(
    saved: tuple[Plan, Path], tmp_path: Path
) -> None:
    bundle = Bundle.load(saved[1], saved[0])
    target = tmp_path / "out"
    Bundle.save(target, bundle.manifest, bundle.text, bundle.golden)
    unfit = bundle.manifest.model_copy(update={"lightgbm": "\udc80"})  # no UTF-8 has this
    with pytest.raises(UnicodeEncodeError):
        Bundle.save(target, unfit, "another model", bundle.golden)
    assert Bundle.load(target, saved[0]).manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_with_anything_else_in_it_is_not_overwritten(
    saved: tuple[Plan, Path], tmp_path: Path
) -> None:
    bundle = Bundle.load(saved[1], saved[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'notes\.txt', which is not part of a bundle"):
        Bundle.save(tmp_path, bundle.manifest, bundle.text, bundle.golden)
    with pytest.raises(UsageError, match="is a file; a bundle is a directory"):
        Bundle.save(tmp_path / "notes.txt", bundle.manifest, bundle.text, bundle.golden)
    assert (tmp_path / "notes.txt").read_text() == "mine"
