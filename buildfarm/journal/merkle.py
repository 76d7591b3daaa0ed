"""Merkle tree of the journal (RFC 6962 section 2.1, RFC 9162 section 2.1), as pure functions.

A node is addressed by `(level, index)` and covers the leaves `index << level` up to
`(index + 1) << level`. Only *complete* subtrees have an address: they never change once they
exist, so they can be stored, cached and served as tiles. Everything on the ragged right edge of a
tree is computed from them when it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from buildfarm.errors import IntegrityFailure, InvalidInput

#: Root hash of the tree without leaves.
EMPTY_ROOT = hashlib.sha256(b"").digest()

#: Reads the hash of the complete subtree at (level, index).
GetNode = Callable[[int, int], bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf's bytes: SHA-256(0x00 | leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 | left | right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def appended(size: int, leaf: bytes, get_node: GetNode) -> list[tuple[int, int, bytes]]:
    """The complete nodes that come into being when a leaf is appended.

    Args:
        size: number of leaves before the append, so the new leaf's index.
        leaf: the new leaf's hash, from `leaf_hash`.
        get_node: reads earlier complete nodes.

    Returns:
        `(level, index, hash)` from the leaf (level 0) upwards.
    """
    level, index, value = 0, size, leaf
    nodes = [(level, index, value)]
    while index & 1:
        value = node_hash(get_node(level, index - 1), value)
        level, index = level + 1, index >> 1
        nodes.append((level, index, value))
    return nodes


def root(size: int, get_node: GetNode) -> bytes:
    """Root hash of the tree of the first `size` leaves."""
    return _subtree(0, size, get_node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, get_node: GetNode) -> list[bytes]:
    """Proof that leaf `index` is in the tree of `size` leaves (RFC 9162 section 2.1.3.1).

    Raises:
        InvalidInput: there is no such leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise InvalidInput(f"There is no leaf {index} in a tree of {size} leaves.", code="merkle.range")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_subtree(middle, end, get_node))
            end = middle
        else:
            proof.append(_subtree(start, middle, get_node))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(old: int, new: int, get_node: GetNode) -> list[bytes]:
    """Proof that the tree of `new` leaves begins with the tree of `old` (RFC 9162 section 2.1.4.1).

    The proof from size 0, and from a size to itself, is empty.

    Raises:
        InvalidInput: `old` is not between 0 and `new`.
    """
    if not 0 <= old <= new:
        raise InvalidInput(f"A tree of {new} leaves cannot begin with {old} leaves.", code="merkle.range")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, boundary = 0, new, old
    complete = True  # the part of the old tree at hand is the old tree itself: its root is known
    while boundary != end:
        middle = start + _split(end - start)
        if boundary <= middle:
            proof.append(_subtree(middle, end, get_node))
            end = middle
        else:
            proof.append(_subtree(start, middle, get_node))
            start = middle
            complete = False
    if not complete:
        proof.append(_subtree(start, end, get_node))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check an inclusion proof (RFC 9162 section 2.1.3.2).

    Args:
        leaf: the leaf's hash, from `leaf_hash`.
        index: the leaf's index.
        size: number of leaves of the tree.
        proof: hashes from the leaf upwards.
        root_hash: the tree's root hash.

    Raises:
        IntegrityFailure: the proof does not lead from the leaf to the root.
    """
    if not 0 <= index < size:
        raise _broken("inclusion", f"there is no leaf {index} in a tree of {size} leaves")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _broken("inclusion", "the proof is too long")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise _broken("inclusion", "the proof is too short")
    _same("inclusion", root_hash, value)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check a consistency proof (RFC 9162 section 2.1.4.2).

    Raises:
        IntegrityFailure: the new tree is smaller, or does not begin with the old one.
    """
    if not 0 <= old <= new:
        raise _broken("consistency", f"the tree shrank from {old} to {new} leaves")
    if old in (0, new):
        if proof:
            raise _broken("consistency", "the proof should be empty")
        _same("consistency", new_root if old else EMPTY_ROOT, old_root)
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise _broken("consistency", "the proof is empty")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _broken("consistency", "the proof is too long")
        if node & 1 or node == last:
            old_value = node_hash(sibling, old_value)
            new_value = node_hash(sibling, new_value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_value = node_hash(new_value, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise _broken("consistency", "the proof is too short")
    _same("consistency", old_root, old_value)
    _same("consistency", new_root, new_value)


def _split(count: int) -> int:
    """The largest power of two smaller than `count` (which is at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree(start: int, end: int, get_node: GetNode) -> bytes:
    """Root of the leaves `start` to `end`, where `start` is aligned as RFC 6962's splits leave it."""
    count = end - start
    level = count.bit_length() - 1
    if count == 1 << level:
        return get_node(level, start >> level)
    middle = start + _split(count)
    return node_hash(get_node(level, start >> level), _subtree(middle, end, get_node))


def _same(kind: str, expected: bytes, got: bytes) -> None:
    if expected != got:
        raise _broken(kind, "the hashes do not agree", expected=expected.hex(), got=got.hex())


def _broken(kind: str, why: str, **facts: str) -> IntegrityFailure:
    return IntegrityFailure(f"The {kind} proof does not hold: {why}.", code=f"merkle.{kind}", **facts)
