"""Is the line of every key of a TOML text found, however it is written?"""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.server.toml_lines import Place, lines_of


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("a = 1", ("a",), 1),
        ("# a = 0\n\na = 1 # b = 2\nb=2", ("b",), 4),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("[t]\na = 1", ("t",), 1),
        ("[t]\na = 1", ("t", "a"), 2),
        ("[ t . u ]\na = 1", ("t", "u", "a"), 2),
        ("t.u . v = 1", ("t", "u", "v"), 1),
        ("t.u = 1\nt.v = 2", ("t", "v"), 2),
        ("\"a b\".'c.d' = 1", ("a b", "c.d"), 1),
        ('"\\u0061\\"" = 1', ('a"',), 1),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 0, "a"), 2),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), 4),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t",), 1),
        ("[[t]]\n[[t]]\n[t.u]\na = 1", ("t", 1, "u", "a"), 4),
        ("[[t]]\n[[t.u]]\n[[t.u]]\n[[t]]\n[[t.u]]\na = 1", ("t", 1, "u", 0, "a"), 6),
        ("a = [\n  1, # ]\n  2,\n]\nb = 1", ("a", 1), 3),
        ("a = [\n  1, # ]\n  2,\n]\nb = 1", ("b",), 5),
        ("a = [[1, 2], [\n3]]", ("a", 1, 0), 2),
        ("a = { b = 1, c.d = { e = '}' } }\nf = 1", ("a", "c", "d", "e"), 1),
        ("a = { b = 1, c.d = { e = '}' } }\nf = 1", ("f",), 2),
        ("a = [{ b = 1 },\n{ b = 2 }]", ("a", 1, "b"), 2),
        ("a = []\nb = {}\nc = 1", ("c",), 3),
        ('a = """\nb = 1\n\\""" """\nc = 1', ("c",), 4),
        ('a = """x"""""\nc = 1', ("c",), 2),
        ("a = '''\n'b' = 1\\'''\nc = 1", ("c",), 3),
        ('a = "\\\\"\nb = "]"\nc = \'\\\'\nd = 1', ("d",), 4),
        ("a = 1979-05-27 07:32:00Z\nb = -inf\nc = 0x1F", ("c",), 3),
    ],
)
def test_the_line_of_a_key_is_found(text: str, place: Place, line: int) -> None:
    tomllib.loads(text)
    assert lines_of(text)[place] == line


def test_what_looks_like_a_key_within_a_text_is_none() -> None:
    assert set(lines_of('a = """\nb = 1\n[c]\n"""')) == {("a",)}


SCALARS = st.sampled_from(["1", "true", "'#'", '"]"', '"""\n\n[x]\n"""', "'''\n'''", "1.5", "[\n1,\n2 ]", "{x = 1}"])


@given(st.lists(st.tuples(st.sampled_from(["", "# [t]\n", "\n"]), SCALARS), max_size=20))
def test_lines_are_those_on_which_the_keys_were_written(parts: list[tuple[str, str]]) -> None:
    text = ""
    expected: dict[Place, int] = {}
    for number, (before, value) in enumerate(parts):
        text += f"{before}[[t]]\nkey{number} = {value}\n"
        expected["t", number, f"key{number}"] = text[: text.rindex(f"key{number} =")].count("\n") + 1
    tomllib.loads(text)
    found = lines_of(text)
    assert {place: found[place] for place in expected} == expected
