"""Whatever happens to the bytes of a good file, the answer is facts or a refusal, never a crash."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import FarmError

LICENCE = b"Do as you like.\n" * 20
ENTRY_POINTS = b"[console_scripts]\ndemo = demo:main\n"
BOUNDED = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.binary(min_size=0, max_size=6), st.booleans()), max_size=4
)


def edited(data, edits):
    for place, new, insert in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at if insert else at + len(new) :]
    return data


def facts_or_refusal(make, made):
    try:
        return make.check(made)
    except FarmError as error:
        refused = error
    assert refused.code.startswith("file.")
    assert refused.message.isascii()
    return None


@BOUNDED
@given(edits=EDITS)
def test_a_wheel_with_changed_bytes_gives_the_same_facts_or_a_refusal(make, edits):
    good = make.wheel(files={"demo/LICENCE": LICENCE, "demo-1.0.dist-info/entry_points.txt": ENTRY_POINTS})
    data = edited(good.data, edits)
    facts = facts_or_refusal(make, replace(good, data=data))
    if facts is not None and data != good.data:
        whole = make.check(good)
        # Time stamps and permission bits are all that may differ in a wheel that is still right.
        assert replace(facts, sha256="") == replace(whole, sha256="")


@BOUNDED
@given(edits=EDITS)
def test_an_sdist_with_changed_bytes_gives_facts_or_a_refusal(make, edits):
    good = make.sdist()
    facts_or_refusal(make, replace(good, data=edited(good.data, edits)))


@BOUNDED
@given(edits=EDITS)
def test_a_tar_with_changed_bytes_gives_facts_or_a_refusal(make, edits):
    folder = make.info("demo-1.0/" + "d/" * 60 + "x.py", b"x")
    facts_or_refusal(make, make.sdist(folder, change=lambda plain: edited(plain, edits)))


@pytest.fixture(scope="module")
def module(compile_c):
    return compile_c("-Wl,-rpath,$ORIGIN")


@BOUNDED
@given(edits=EDITS)
def test_an_elf_with_changed_bytes_gives_facts_or_a_refusal(make, module, edits):
    elf = edited(module, edits)
    facts_or_refusal(
        make, make.wheel(tag="cp311-cp311-manylinux_2_17_x86_64", files={"demo/x.so": b"\x7fELF" + elf[4:]})
    )


@BOUNDED
@given(text=st.text(st.sampled_from("\n\r\t :;=,-.\"'[]()<>@#aA1é\0"), max_size=80), which=st.integers(0, 3))
def test_odd_text_in_a_file_that_is_parsed_gives_facts_or_a_refusal(make, text, which):
    made = [
        lambda: make.wheel(metadata=make.METADATA + text),
        lambda: make.wheel(wheel="Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n" + text),
        lambda: make.wheel(record=text),
        lambda: make.wheel(
            files={"demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\n" + text.encode()}
        ),
    ][which]()
    facts_or_refusal(make, made)


@BOUNDED
@given(
    name=st.text(max_size=40)
    | st.from_regex(r"[a-z_.-]{1,9}-[0-9.a-z+]{1,6}-[a-z0-9.]{1,6}-[a-z0-9]{1,6}-any\.whl")
)
def test_any_file_name_gives_facts_or_a_refusal(make, name):
    facts_or_refusal(make, replace(make.wheel(), filename=name))


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_file_cut_anywhere_is_refused(make, kind):
    good = getattr(make, kind)()
    for length in [*range(0, len(good.data), 7), *range(len(good.data) - 30, len(good.data))]:
        with pytest.raises(FarmError) as caught:
            make.check(replace(good, data=good.data[:length]))
        assert caught.value.facts["rule"] in ("Z-01", "S-01")


def test_every_changed_byte_of_content_is_refused(make):
    good = make.wheel(more=(make.Part("demo/x.txt", LICENCE, method=0),))
    start = good.data.index(LICENCE)
    for at in range(start, start + len(LICENCE)):
        changed = good.data[:at] + bytes([good.data[at] ^ 0x10]) + good.data[at + 1 :]
        with pytest.raises(FarmError, match="Z-13"):
            make.check(replace(good, data=changed))
