from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurosim.errors import ConfigError
from neurosim.yamlfile import dump_yaml, format_key, merge, parse_yaml, read_composed, read_yaml, show

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"[-+.0-9exoinfatrul_~<=:?# ]{1,8}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=12)


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    return list(caught.value.problems)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the present one, so that messages hold short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_of_file(name: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_composed(name, named=lambda text: Path(f"named_{text}.yaml"))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("+1", 1),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("$HOME/x", "$HOME/x"),
        ("${HOME}", "${HOME}"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}", "f").plain()["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse_yaml(".nan", "f").plain())


def test_a_yaml_1_1_directive_does_not_bring_back_its_booleans() -> None:
    assert parse_yaml("%YAML 1.1\n---\n{a: no, b: 010}", "f").plain() == {"a": "no", "b": 10}


def test_aliases_are_copies_of_what_they_name() -> None:
    assert parse_yaml("a: &x [1, {b: 2}]\nc: *x", "f").plain() == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: {c: 1, c: 2}\na: 3", ["f.yaml:2: b.c: given twice, first in line 2", "f.yaml:3: a: given twice, first in line 1"]),
        (
            "x:\n  a: !!python/object/apply:os.system [ls]",
            ["f.yaml:2: x.a: must be plain data, got the tag '!!python/object/apply:os.system'"],
        ),
        ("a: !!python/name:os.system", ["f.yaml:1: a: must be plain data, got the tag '!!python/name:os.system'"]),
        ("a: !env HOME", ["f.yaml:1: a: must be plain data, got the tag '!env'"]),
        ("a: &x {b: 1}\nc:\n  <<: *x", ["f.yaml:3: c: merge keys (<<) are not part of YAML 1.2; use extends"]),
        ("1: a", ["f.yaml:1: a key must be a text, got 1; write it in quotes"]),
        ("a:\n  ? [b]\n  : 1", ["f.yaml:2: a: a key must be a text, got a list or mapping; write it in quotes"]),
        ("a: *x", ["f.yaml:1: a: no finished value above is marked &x"]),
        ("a: &x [*x]", ["f.yaml:1: a.0: no finished value above is marked &x"]),
        ("a: 1\n---\nb: 2", ["f.yaml:2: not YAML: must hold one document, a second one begins here"]),
        ("a:\n\t- b", [r"f.yaml:2: not YAML: found character '\t' that cannot start any token, while scanning for the next token"]),
        ("a:\n  b: c: d", ["f.yaml:2: not YAML: mapping values are not allowed here"]),
        ("a: [1,\n", ["f.yaml:2: not YAML: expected the node content, but found '<stream end>', while parsing a flow node"]),
        ("a: 1\nb: \x07", ["f.yaml:2: not YAML: the character U+0007 is not allowed"]),
        ("%YAML 3.0\n---\na: 1", ["f.yaml:1: not YAML: found incompatible YAML document (version 1.* is required)"]),
        ("a: " + "9" * 5000, ["f.yaml:1: a: must be a shorter number, got 5000 digits"]),
        (r'a: "\ud800"', [r"f.yaml:1: a: must be Unicode text, got half a surrogate pair in '\ud800'"]),
        ("[" * 60, ["f.yaml:1: not YAML: must not hold more than 200000 values or 50 blocks within blocks"]),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
    assert problems_of("\n".join(lines)) == ["f.yaml:6: not YAML: must not hold more than 200000 values or 50 blocks within blocks"]


def test_a_key_knows_its_line_and_a_missing_one_that_of_its_block(here: Path) -> None:
    Path("f.yaml").write_text("# comment\na: 1\nb:\n  c:\n    - x\n    - {y: 1,\n       z: 2}\n")
    file = read_yaml("f.yaml")
    assert file.data == {"a": 1, "b": {"c": ["x", {"y": 1, "z": 2}]}}
    lines = {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 5,
        ("b", "c", 1, "z"): 7,
        ("b", "none"): 3,
        ("b", "c", 7): 4,
        ("none",): 2,
    }
    assert {key: file.at(key) for key in lines} == {key: f"f.yaml:{line}" for key, line in lines.items()}


def test_windows_line_ends_and_a_byte_order_mark_are_read(here: Path) -> None:
    Path("f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    file = read_yaml("f.yaml")
    assert file.data == {"a": 1, "b": "x"}
    assert file.at(("b",)) == "f.yaml:2"


def test_a_missing_file_suggests_its_neighbour(here: Path) -> None:
    Path("digits.yaml").write_text("a: 1")
    assert problems_of_file("digit.yaml") == ["digit.yaml: no such file; did you mean 'digits.yaml'?"]


def test_a_missing_folder_is_named(here: Path) -> None:
    assert problems_of_file("none/digit.yaml") == ["none/digit.yaml: no such file; there is no folder none"]


def test_a_folder_is_not_a_file(here: Path) -> None:
    Path("folder").mkdir()
    Path("folder/a.yaml").touch()
    assert problems_of_file("folder") == ["folder: must be a YAML file, is a folder; valid: 'a.yaml'"]


def test_a_name_that_no_file_can_have_is_an_error_of_one_line(here: Path) -> None:
    assert problems_of_file("a\0\n.yaml") == [r"a\x00\n.yaml: cannot be read: embedded null byte"]
    assert problems_of_file("a" * 300) == ["a" * 300 + ": cannot be read: " + os.strerror(errno.ENAMETOOLONG)]


def test_other_encodings_are_refused_with_the_line(here: Path) -> None:
    Path("f.yaml").write_bytes("a: 1\nb: é".encode("latin-1"))
    assert problems_of_file("f.yaml") == ["f.yaml:2: must be UTF-8 text, got the byte 0xe9"]


@pytest.mark.parametrize(("text", "shown"), [("- a\n- b", "['a', 'b']"), ("", "null"), ("\n\nplain", "'plain'")])
def test_the_top_must_be_a_mapping(here: Path, text: str, shown: str) -> None:
    Path("f.yaml").write_text(text)
    line = text.count("\n", 0, len(text) - len(text.lstrip())) + 1
    assert problems_of_file("f.yaml") == [f"f.yaml:{line}: must be a mapping (key: value) at the top, got {shown}"]


def test_extends_puts_a_file_on_top_of_others_in_order(here: Path) -> None:
    Path("sub").mkdir()
    Path("sub/one.yaml").write_text("extends: ../zero.yaml\na: 1\nblock: {x: 1, y: [1, 2]}\n")
    Path("zero.yaml").write_text("zero: 0\na: 0\n")
    Path("two.yaml").write_text("a: 2\n\nblock: {y: [3]}\n")
    Path("top.yaml").write_text("extends: [sub/one.yaml, two.yaml]\nblock:\n  z: 3\n")
    file = read_composed("top.yaml")
    assert file.data == {"zero": 0, "a": 2, "block": {"x": 1, "y": [3], "z": 3}}
    keys = [("zero",), ("a",), ("block",), ("block", "x"), ("block", "y"), ("block", "z")]
    assert [file.at(key) for key in keys] == [
        "sub/../zero.yaml:1",
        "two.yaml:1",
        "top.yaml:2",
        "sub/one.yaml:3",
        "two.yaml:3",
        "top.yaml:3",
    ]


def test_a_file_may_be_reached_by_two_ways(here: Path) -> None:
    Path("base.yaml").write_text("a: 1")
    Path("left.yaml").write_text("extends: base.yaml\nb: 2")
    Path("right.yaml").write_text("extends: base.yaml\nc: 3")
    Path("top.yaml").write_text("extends: [left.yaml, right.yaml]")
    assert read_composed("top.yaml").data == {"a": 1, "b": 2, "c": 3}


def test_a_block_whose_kind_changes_is_replaced() -> None:
    base = parse_yaml("o: {kind: adam, lr: 1, betas: [1, 2]}\nn: {a: 1}", "base")
    assert merge(base, parse_yaml("o: {kind: sgd, lr: 2}\nn: {b: 2}", "over")).plain() == {
        "o": {"kind": "sgd", "lr": 2},
        "n": {"a": 1, "b": 2},
    }
    assert merge(base, parse_yaml("o: {kind: adam, lr: 2}", "over")).plain()["o"] == {"kind": "adam", "lr": 2, "betas": [1, 2]}
    assert merge(base, parse_yaml("o: {lr: 2}", "over")).plain()["o"] == {"kind": "adam", "lr": 2, "betas": [1, 2]}
    assert merge(base, parse_yaml("n: {kind: x}", "over")).plain()["n"] == {"kind": "x"}
    assert merge(base, parse_yaml("o: null", "over")).plain()["o"] is None


def test_names_in_extends_are_found_by_the_caller(here: Path) -> None:
    Path("named_pcm.yaml").write_text("a: 1")
    Path("named_pkg:x/y.yaml.yaml").parent.mkdir(parents=True)
    Path("named_pkg:x/y.yaml.yaml").write_text("b: 2")
    Path("top.yaml").write_text("extends: [pcm, 'pkg:x/y.yaml']")
    assert read_composed("top.yaml", named=lambda text: Path(f"named_{text}.yaml")).data == {"a": 1, "b": 2}


def test_a_circle_is_refused_with_its_way(here: Path) -> None:
    Path("a.yaml").write_text("x: 1\nextends: b.yaml\n")
    Path("b.yaml").write_text("extends:\n- ./a.yaml\n")
    assert problems_of_file("a.yaml") == ["b.yaml:2: extends.0: must not lead back to itself, got a.yaml -> b.yaml -> a.yaml"]


def test_a_file_that_extends_itself_is_refused(here: Path) -> None:
    Path("a.yaml").write_text("extends: a.yaml")
    assert problems_of_file("a.yaml") == ["a.yaml:1: extends: must not lead back to itself, got a.yaml -> a.yaml"]


def test_all_problems_of_all_files_are_reported_once(here: Path) -> None:
    Path("base.yaml").write_text("a: 1\na: 2")
    Path("left.yaml").write_text("extends: [base.yaml, bass.yaml]")
    Path("top.yaml").write_text("x: 1\nextends:\n  - left.yaml\n  - 5\n  - base.yaml\n  - ''\n  - none/x.yaml\n")
    assert problems_of_file("top.yaml") == [
        "base.yaml:2: a: given twice, first in line 1",
        "left.yaml:1: extends.1: must be an existing file, got 'bass.yaml'; did you mean 'base.yaml'?",
        "top.yaml:4: extends.1: must be a path, or a list of paths, got 5",
        "top.yaml:6: extends.3: must be a path, or a list of paths, got ''",
        "top.yaml:7: extends.4: must be an existing file, got 'none/x.yaml'; there is no folder none",
    ]


def test_values_are_shown_on_one_short_line() -> None:
    assert show({"a": "x\ny\u2028"}) == r"{'a': 'x\ny\u2028'}"
    assert len(show("x" * 1000)) == 60


def test_a_key_path_quotes_what_its_dots_would_hide() -> None:
    assert format_key(("a", "*.b", 2, "", "c d", "e=f")) == 'a."*.b".2.""."c d"."e=f"'


@given(st.dictionaries(TEXTS, PLAIN))
def test_dumped_data_reads_back_equal_and_of_the_same_types(data: dict[str, Any]) -> None:
    back = parse_yaml(dump_yaml(data), "f").plain()
    assert back == data
    assert repr(back) == repr(data)


def test_dumping_nested_blocks_is_readable() -> None:
    data = {"a": {"b": [1, 2], "c": [{"d": 1, "e": [3]}, [[4]], {}]}, "f": [], "*": {"weight.noise": 0.5}, "g": ("x", None)}
    assert dump_yaml(data) == (
        'a:\n  b: [1, 2]\n  c:\n    - d: 1\n      e: [3]\n    - - [4]\n    - {}\nf: []\n"*": {weight.noise: 0.5}\ng: [x, null]\n'
    )


def test_what_is_no_plain_data_is_not_dumped() -> None:
    with pytest.raises(TypeError, match=r"must be plain data, got 1j"):
        dump_yaml({"a": [1j]})
