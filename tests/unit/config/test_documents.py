"""YAML that is not what it looks like: read rightly, or refused by name and line."""

from datetime import date

import pytest
import yaml

from canopyflow.config.documents import DEEPEST, read_document
from canopyflow.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(tmp_path, text):
    return [
        (".".join(map(str, problem.place)), problem.line, problem.text)
        for problem in read_document(written(tmp_path, text)).problems
    ]


@pytest.mark.parametrize(
    ("text", "place", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", 3, "given twice, first in line 1"),
        ("a:\n  b: 1\n  c: {d: 1, d: 2}\n", "a.c.d", 3, "given twice, first in line 3"),
        ("a:\n- b: 1\n  b: 2\n", "a.0.b", 3, "given twice, first in line 2"),
        ("a: 010\n", "a", 1, "010 is an octal number to some readers: write 10, or put it in quotes"),
        ("a: [1, 08]\n", "a.1", 1, "08 is an octal"),
        ("a: -0o17\n", "a", 1, "-0o17 is an octal number to some readers: write 17"),
        ("a: 0x1F\n", "a", 1, "no decimal number"),
        ("a: 0b11\n", "a", 1, "no decimal number"),
        ("a: 12:30:00\n", "a", 1, "base 60"),
        ("a: 1:30.5\n", "a", 1, "base 60"),
        ("a: !!python/object/apply:os.system [ls]\n", "", 1, "the tag !!python/object/apply:os.system"),
        ("a: 1\nb: !foo bar\n", "", 2, "the tag !foo is not read"),
        ("a: !!str 2021\n", "", 1, "the tag !!str"),
        ("a: {NO: 1}\n", "a.NO", 1, "the key NO is read as true or false: put it in quotes"),
        ("2021: 1\n", "2021", 1, "the key 2021 is read as a number"),
        ("2021-03-01: 1\n", "2021-03-01", 1, "read as a date"),
        ("~: 1\n", "~", 1, "read as nothing"),
        ("? [a, b]\n: 1\n", "", 1, "keys are words"),
        ("a: &x [1, *x]\n", "a.1", 1, "an anchor within what it stands for"),
        ("a: {<<: 3}\n", "a.<<", 1, "takes over the keys of a block"),
    ],
)
def test_what_may_be_misread_is_refused_with_place_and_line(tmp_path, text, place, line, said):
    found = problems(tmp_path, text)
    assert [each[:2] for each in found] == [(place, line)]
    assert said in found[0][2]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a:\n\tb: 1\n", 2, "a tab, where YAML allows spaces only"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins"),
        ("a: b: c\n", 1, "a second `: ` in one line"),
        ("a: 1\nb\nc: 2\n", 2, "a key without `:`"),
        ("a: 1\nb: 'x\nc: 2\n", 2, "a quote is opened here and never closed"),
        ("a: 1\nb: [1, 2\nc: 2\n", 2, "opened by ["),
        ("a: 1\nb: {c: 2\n", 2, "opened by {"),
        ("a: *x\n", 1, "stands for an anchor"),
        ("a:\n  b: 1\n c: 2\n", 3, "mend the indentation"),
        ("a: @b\n", 1, "put the text in quotes"),
        ("a: 1\nb: \x07\n", 2, "U+0007"),
        (b"a: 1\nb: M\xfcnchen\n", 2, "no UTF-8"),
        ("a: " + "[" * (DEEPEST + 5) + "]" * (DEEPEST + 5), 1, "blocks within each other"),
    ],
)
def test_what_is_no_yaml_is_said_in_plain_words_with_the_line(tmp_path, text, line, said):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"campaign file {path} is no YAML, line {line}: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "a\n", "- a\n", "~\n"])
def test_a_file_without_keys_says_so(tmp_path, text):
    with pytest.raises(ConfigError, match="holds no keys"):
        read_document(written(tmp_path, text))


def test_anchors_that_multiply_are_stopped(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match=r"is no YAML, line \d+: anchors that stand for more than"):
        read_document(written(tmp_path, "\n".join(lines)))


FINE = """\ufeff---
a: &base {x: 1, y: [2, 3.5]}
b: {<<: *base, x: 5}
c: [*base, yes, off, ~, "010", '12:30', 2021-03-01, 200_000, 1.0e-3, =, .inf]
d: "no"
"e": |
  text: with colon
...
"""


def test_all_else_is_read_as_the_usual_reader_does(tmp_path):
    document = read_document(written(tmp_path, FINE))
    assert document.problems == []
    usual = yaml.safe_load(FINE.replace("=, ", "'=', "))
    assert document.values == usual
    assert document.values["b"] == {"x": 5, "y": [2, 3.5]}
    assert document.values["c"][6] == date(2021, 3, 1)
    assert document.line_of(("c", 3)) == 4
    assert document.line_of(("a", "z")) == 2
    assert document.line_of(("z",)) is None


def test_a_date_that_does_not_exist_stays_text(tmp_path):
    assert read_document(written(tmp_path, "a: 2021-02-30\n")).values == {"a": "2021-02-30"}
