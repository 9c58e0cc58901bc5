"""The digest of a feature vector: XXH64, seed 0, of many vectors at once.

Source: the XXH64 specification, github.com/Cyan4973/xxHash, doc/xxhash_spec.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_LANE0 = np.uint64((0x9E3779B185EBCA87 + 0xC2B2AE3D27D4EB4F) % 2**64)
_LANE3 = np.uint64(2**64 - 0x9E3779B185EBCA87)
_ZERO = np.uint64(0)
_SIGN = np.uint64(1 << 63)
_INFINITY = np.uint64(0x7FF0000000000000)
_NAN = np.uint64(0x7FF8000000000000)


def digest_rows(vectors: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return XXH64 of each row's little-endian float64 values: uint64[n].

    vectors  float64[features, n], C order; row i is ``vectors[:, i]``. It is digested with one
             NaN (0x7ff8000000000000) and +0.0 for -0.0, and left as it is.
    """
    out = np.empty(vectors.shape[1], np.uint64)
    # Hashing is arithmetic modulo 2^64; uncompiled, NumPy would warn of each overflow.
    with np.errstate(over="ignore"):
        _digest(np.ascontiguousarray(vectors).view(np.uint64), out)
    return out


@kernel
def _digest(words: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Hash ``words[:, i]`` into ``out[i]``; words: uint64[features, n], bits of float64."""
    features = words.shape[0]
    for i in range(len(out)):
        done = 0
        acc = _P5
        if features >= 4:
            # A stripe of 32 bytes is one value of each of four features, one per lane.
            lane0, lane1, lane2, lane3 = _LANE0, _P2, _ZERO, _LANE3
            while done + 4 <= features:
                lane0 = _round(lane0, _canonical(words[done, i]))
                lane1 = _round(lane1, _canonical(words[done + 1, i]))
                lane2 = _round(lane2, _canonical(words[done + 2, i]))
                lane3 = _round(lane3, _canonical(words[done + 3, i]))
                done += 4
            acc = _rotate(lane0, 1) + _rotate(lane1, 7) + _rotate(lane2, 12) + _rotate(lane3, 18)
            acc = _merge(_merge(_merge(_merge(acc, lane0), lane1), lane2), lane3)
        acc += np.uint64(8 * features)
        while done < features:
            acc ^= _round(_ZERO, _canonical(words[done, i]))
            acc = _rotate(acc, 27) * _P1 + _P4
            done += 1
        acc = (acc ^ (acc >> np.uint64(33))) * _P2
        acc = (acc ^ (acc >> np.uint64(29))) * _P3
        out[i] = acc ^ (acc >> np.uint64(32))


@kernel
def _canonical(word: np.uint64) -> np.uint64:
    if word == _SIGN:
        return _ZERO
    if (word & ~_SIGN) > _INFINITY:
        return _NAN
    return word


@kernel
def _rotate(acc: np.uint64, bits: int) -> np.uint64:
    return (acc << np.uint64(bits)) | (acc >> np.uint64(64 - bits))


@kernel
def _round(acc: np.uint64, word: np.uint64) -> np.uint64:
    return _rotate(acc + word * _P2, 31) * _P1


@kernel
def _merge(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return (acc ^ _round(_ZERO, lane)) * _P1 + _P4
