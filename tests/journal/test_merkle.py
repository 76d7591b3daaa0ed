from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import FarmError, IntegrityFailure, InvalidInput
from buildfarm.journal import merkle


class Tree:
    """A tree kept by `appended` alone, as the journal keeps it."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.size = 0
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        for level, index, value in merkle.appended(self.size, merkle.leaf_hash(leaf), self.get):
            assert (level, index) not in self.nodes, "a complete node never changes"
            self.nodes[level, index] = value
        self.size += 1

    def get(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_consistency(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], False), naive_root(leaves[:k])]


LEAVES = [f"leaf {n}".encode() for n in range(90)]


def test_every_root_and_every_proof_up_to_ninety_leaves_is_that_of_the_rfc() -> None:
    tree = Tree([])
    roots = [naive_root(LEAVES[:n]) for n in range(len(LEAVES) + 1)]
    for size in range(len(LEAVES) + 1):
        assert merkle.root(size, tree.get) == roots[size]
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, tree.get)
            assert proof == naive_path(index, LEAVES[:size])
            merkle.verify_inclusion(merkle.leaf_hash(LEAVES[index]), index, size, proof, roots[size])
        for old in range(size + 1):
            proof = merkle.consistency_proof(old, size, tree.get)
            if old:
                assert proof == naive_consistency(old, LEAVES[:size])
            merkle.verify_consistency(old, size, roots[old], roots[size], proof)
        if size < len(LEAVES):
            tree.append(LEAVES[size])


def test_an_append_creates_its_leaf_first_and_then_the_subtrees_it_completes() -> None:
    tree = Tree(LEAVES[:7])
    created = merkle.appended(7, merkle.leaf_hash(LEAVES[7]), tree.get)
    assert [(level, index) for level, index, _ in created] == [(0, 7), (1, 3), (2, 1), (3, 0)]
    assert created[-1][2] == naive_root(LEAVES[:8])


@settings(max_examples=150)
@given(st.data())
def test_a_proof_for_other_leaf_place_size_root_or_hash_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 60), label="size")
    index = data.draw(st.integers(0, size - 1), label="index")
    tree = Tree(LEAVES[:size])
    leaf, proof = merkle.leaf_hash(LEAVES[index]), merkle.inclusion_proof(index, size, tree.get)
    top = merkle.root(size, tree.get)
    merkle.verify_inclusion(leaf, index, size, proof, top)
    with pytest.raises(IntegrityFailure):
        merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, top)
    with pytest.raises(IntegrityFailure):
        merkle.verify_inclusion(leaf, index, size, proof, merkle.leaf_hash(b"other"))
    with pytest.raises(IntegrityFailure):
        merkle.verify_inclusion(leaf, index, size, [*proof, top], top)
    with pytest.raises(IntegrityFailure):
        merkle.verify_inclusion(leaf, size + index, size, proof, top)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1), label="place")
        with pytest.raises(IntegrityFailure):
            merkle.verify_inclusion(leaf, index, size, proof[:-1], top)
        with pytest.raises(IntegrityFailure):
            merkle.verify_inclusion(leaf, index ^ 1, size, proof, top)
        with pytest.raises(IntegrityFailure):
            merkle.verify_inclusion(leaf, index, size, [*proof[:place], bytes(32), *proof[place + 1 :]], top)


@settings(max_examples=150)
@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 59))
def test_a_fork_or_a_rollback_has_no_consistency_proof(old: int, more: int, changed: int) -> None:
    changed %= old
    honest = Tree(LEAVES[: old + more])
    forked = Tree([*LEAVES[:changed], b"forged", *LEAVES[changed + 1 : old + more]])
    proof = merkle.consistency_proof(old, old + more, forked.get)
    before = merkle.root(old, honest.get)
    with pytest.raises(IntegrityFailure):
        merkle.verify_consistency(old, old + more, before, merkle.root(old + more, forked.get), proof)
    with pytest.raises(IntegrityFailure):
        merkle.verify_consistency(old + more + 1, old + more, before, merkle.root(old + more, honest.get), [])


@settings(max_examples=200)
@given(
    st.integers(-5, 2**70),
    st.integers(-5, 2**70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=80),
    st.binary(max_size=40),
)
def test_garbage_proofs_raise_nothing_but_farm_errors(
    a: int, b: int, proof: list[bytes], value: bytes
) -> None:
    for check in (
        lambda: merkle.verify_inclusion(value, a, b, proof, value),
        lambda: merkle.verify_consistency(a, b, value, value, proof),
    ):
        with contextlib.suppress(FarmError):
            check()


def test_a_leaf_that_is_not_there_cannot_be_proved() -> None:
    tree = Tree(LEAVES[:3])
    for index, size in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(InvalidInput):
            merkle.inclusion_proof(index, size, tree.get)
    with pytest.raises(InvalidInput):
        merkle.consistency_proof(4, 3, tree.get)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root(0, Tree([]).get).hex() == nothing
