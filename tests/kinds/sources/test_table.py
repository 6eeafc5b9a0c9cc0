"""Tables: columns by name, of the types that their cells have, and what is said of a table that is wrong."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.datasets import load_iris, load_wine

from expkit.errors import DataError
from expkit.kinds.sources import spool, table_fields, table_files
from expkit.kinds.sources.base import EMBEDDED
from expkit.kinds.sources.on_disk import DiskArray, rows_of, scan
from expkit.kinds.sources.spool import Spool
from expkit.kinds.sources.table import Table

Write = Callable[..., Table]


@pytest.fixture
def table(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "t.csv", **fields: Any) -> Table:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return Table(path=str(file), **fields)

    return write


def values(source: Table) -> dict[str, tuple[str, list[Any]]]:
    return {name: (array.dtype.name, array[:].tolist()) for name, array in source.load().items()}


def problem_of(source: Table) -> str:
    with pytest.raises(DataError) as caught:
        source.load()
    return str(caught.value).replace(source.path, "FILE")


def test_every_column_is_a_field_of_the_type_that_all_its_cells_have(table: Write) -> None:
    content = 'whole,number,text,quoted\n1,0.5,x,"a, ""b""\nc"\n\n-2,1e3,7,é\n'
    assert values(table(content)) == {
        "whole": ("int64", [1, -2]),
        "number": ("float64", [0.5, 1000]),
        "text": ("object", [b"x", b"7"]),
        "quoted": ("object", [b'a, "b"\nc', "é".encode()]),
    }


def test_columns_are_chosen_and_joined_by_name(table: Write) -> None:
    content = "a;y;b;c\r\n1;no;2;3\r\n4;yes;5;6\r\n"
    source = table(content, delimiter=";", columns={"label": "y", "x": ("c", "a")})
    assert values(source) == {"label": ("object", [b"no", b"yes"]), "x": ("float64", [[3, 1], [6, 4]])}
    rest = table(content, delimiter=";", columns={"x": "*", "label": "y"})
    assert values(rest) == {"x": ("float64", [[1, 2, 3], [4, 5, 6]]), "label": ("object", [b"no", b"yes"])}


def test_a_declared_type_is_kept(table: Write) -> None:
    source = table("zip,y,w\n01234,3.0,1\n99,1e3,2\n", types={"zip": "text", "y": "int64", "w": "float32"})
    assert values(source) == {
        "zip": ("object", [b"01234", b"99"]),
        "y": ("int64", [3, 1000]),
        "w": ("float32", [1, 2]),
    }
    joined = table("a,b\n1,2\n", columns={"x": "*"}, types={"a": "float32", "b": "float32"}).load()["x"]
    assert joined.dtype == np.float32


def test_a_missing_number_is_nan_and_a_missing_text_is_empty(table: Write) -> None:
    source = table("a,b,c\n1, NA ,x\n,2.5,NA\n?,3,\n", missing=("", "NA", "?"))
    fields = source.load()
    np.testing.assert_array_equal(fields["a"][:], [1, np.nan, np.nan])
    np.testing.assert_array_equal(fields["b"][:], [np.nan, 2.5, 3])
    assert fields["c"][:].tolist() == [b"x", b"", b""]
    assert values(table("country,a\nNA,1\nFR,2\n"))["country"] == ("object", [b"NA", b"FR"])
    np.testing.assert_array_equal(table("a,b\n,1\n,2\n").load()["a"][:], [np.nan, np.nan])


def test_whole_numbers_are_exact_and_text_where_no_number_holds_them(table: Write) -> None:
    assert values(table("a\n9007199254740993\n-9223372036854775808\n")) == {"a": ("int64", [2**53 + 1, -(2**63)])}
    assert values(table("a,b\n9007199254740993,1\n,2\n"))["a"] == ("object", [b"9007199254740993", b""])
    assert values(table("a\n99999999999999999999\n1\n")) == {"a": ("object", [b"99999999999999999999", b"1"])}
    assert values(table("a\n1e19\n1\n")) == {"a": ("float64", [1e19, 1])}
    times = table("t,y\n1700000001,0\n1700000002.25,1\n", columns={"x": ("t",)}).load()["x"]
    assert times[:].tolist() == [[1700000001], [1700000002.25]]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([" 1", "2 "], ("int64", [1, 2])),
        (["+1", "-1"], ("int64", [1, -1])),
        (["0x10", "1"], ("object", [b"0x10", b"1"])),
        (["1_0", "1"], ("object", [b"1_0", b"1"])),
        (["true", "false"], ("object", [b"true", b"false"])),
        (["inf", "-1"], ("float64", [np.inf, -1])),
        ([".5", "3."], ("float64", [0.5, 3])),
        ([" a ", "a"], ("object", [b" a ", b"a"])),
    ],
)
def test_cells_are_read_as_written(table: Write, cells: list[str], expected: Any) -> None:
    assert values(table("x\n" + "\n".join(cells) + "\n"))["x"] == expected


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1).filter(str.strip),
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_pythons_writer_writes_is_read_back(rows: list[tuple[str, float, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.csv"
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened, quoting=csv.QUOTE_ALL)
            writer.writerows([("text", "float", "int"), *rows])
        fields = Table(path=str(file), types={"text": "text", "float": "float64", "int": "int64"}).load()
    assert fields["text"][:].tolist() == [text.encode() for text, _, _ in rows]
    assert fields["float"][:].tolist() == [number for _, number, _ in rows]
    assert fields["int"][:].tolist() == [whole for _, _, whole in rows]


def test_encodings_marks_tabs_and_compression_are_read(table: Write) -> None:
    expected = {"é": ("object", ["ü".encode()]), "n": ("int64", [1])}
    assert values(table("\ufeffé,n\nü,1\n")) == expected
    assert values(table("é,n\nü,1\n".encode("latin-1"), encoding="latin-1")) == expected
    assert values(table("é,n\nü,1\n".encode("utf-16"), encoding="utf-16")) == expected
    assert values(table("é\tn\nü\t1\n", "t.TSV")) == expected
    assert values(table(gzip.compress("é\tn\nü\t1\n".encode()), "t.tsv.gz")) == expected
    assert values(table(gzip.compress("é,n\n".encode()) + gzip.compress("ü,1\n".encode()), "t.csv")) == expected


@pytest.mark.parametrize(
    ("content", "fields", "problem"),
    [
        (
            "a,labl\n1,2\n",
            {"columns": {"y": "label"}},
            ": no column 'label' in FILE; did you mean 'labl'? columns: a, labl",
        ),
        (
            "a;b\n1;2\n",
            {"columns": {"y": "b"}},
            ": no column 'b' in FILE; columns: a;b; give data.source.delimiter=';'",
        ),
        ("a,b\n1,2\n", {"types": {"c": "text"}}, ": types: no column 'c' in FILE; columns: a, b"),
        ("a,b\n1,2\n", {"columns": {"x": ("a", "b"), "y": "*"}}, '.columns: no column of FILE is left for "*"'),
        (
            "a,y\n1,2\n\n3\n5,6\n",
            {},
            ".path: FILE line 4 ('3'): 1 column, the header has 2 (a, y); complete or remove the row",
        ),
        (
            "a,y\n1,2\n\n3\n",
            {},
            ".path: FILE line 4 ('3'): 1 column, the header has 2 (a, y); it is the last row: fetch the file again if "
            "it is cut off, complete or remove the row",
        ),
        (
            "a,y\n1,2\n1,2,3\n",
            {},
            ".path: FILE line 3 ('1,2,3'): 3 columns, the header has 2 (a, y); put a cell that holds a ',' into "
            "quotes, or remove what is too much",
        ),
        (
            'a,y\n1,2\n3,"4\n5,6\n',
            {},
            '.path: FILE line 3: a quote (") is not closed; close it, or write two ("") for one that belongs to the '
            "text",
        ),
        (
            'a,y\n1,2\n3\n5,"6\n',  # The first fault in the file is told.
            {},
            ".path: FILE line 3 ('3'): 1 column, the header has 2 (a, y); complete or remove the row",
        ),
        (
            "a,y\n1,2\n3,4\0\n5,6\n",
            {},
            ".path: FILE line 3: a byte 0, which no text has; fetch or write the file again",
        ),
        (
            "a,y\n1,2\n\0\0\0\0\n",
            {},
            ".path: FILE line 3: a byte 0, which no text has; fetch or write the file again",
        ),
        ("a,y\n", {}, ".path: FILE has no rows after its header"),
        ("a,y", {}, ".path: FILE has no rows after its header"),
        ("", {}, ".path: FILE has no header and no rows"),
        ("\n\n", {}, ".path: FILE has no header and no rows"),
        ("a,a,y\n1,2,0\n", {}, ": columns 1 and 2 of FILE are both called 'a'; rename one of them in its header"),
        ("a,,y,\n1,2,0,3\n", {}, ": columns 2 and 4 of FILE are both called ''; rename one of them in its header"),
        (
            "b,a,b,b\n1,2,3,4\n",
            {},
            ": columns 1, 3 and 4 of FILE are all called 'b'; rename all but one of them in its header",
        ),
        (
            "a,y\n1,0\n",
            {"columns": {"x": ("a", "y"), "z": "a"}},
            ": column 'a' is named 2 times; name each column once",
        ),
        (
            "a,b\n1,2\n\nNA,3\n",
            {"columns": {"x": "*"}},
            ".path: FILE, column 'a', row 2: 'NA' is not a number; leave the column out, or list words that stand "
            "for missing values in data.source.missing",
        ),
        (
            "a,b\n1,2\nx,3\n",
            {"types": {"a": "float64"}},
            ".path: FILE, column 'a', row 2: 'x' is not a number; leave the column out, or list words that stand "
            "for missing values in data.source.missing",
        ),
        (
            "a\n1\n1.5\n",
            {"types": {"a": "int64"}},
            ".path: FILE, column 'a', row 2 holds 1.5; int64 holds whole numbers only",
        ),
        (
            "a\n1\n1e19\n",
            {"types": {"a": "int64"}},
            ".path: FILE, column 'a', row 2 holds 1e19; it is beyond the range of int64",
        ),
        (
            "a,b\n1,2\n,3\n",
            {"types": {"a": "int64"}},
            ".path: FILE, column 'a', row 2 has no value; int64 cannot say so; declare the type float64",
        ),
        (
            b"a,b\n1,\xe9\n",
            {},
            ".path: FILE is not text in utf-8 (byte 0xe9: invalid continuation byte); give its encoding, such as "
            "data.source.encoding=latin-1 or cp1252",
        ),
        (
            "é,b\n1,2\n".encode("utf-16"),
            {},
            ".path: FILE begins with the mark of utf-16, and is read as utf-8; give data.source.encoding=utf-16",
        ),
        (
            gzip.compress(b"a,b\n1,2\n", mtime=0)[:-4],
            {},
            ".path: FILE is compressed and damaged: Compressed file ended before the end-of-stream marker was reached; "
            "fetch it again",
        ),
        (
            "a,b\n1,2\n".encode("utf-32"),
            {},
            ".path: FILE begins with the mark of utf-32, and is read as utf-8; give data.source.encoding=utf-32",
        ),
        (
            "\ufeffa,b\n1,2\n".encode(),
            {"encoding": "latin-1"},
            ".path: FILE begins with the mark of utf-8, and is read as latin-1; give data.source.encoding=utf-8",
        ),
        (
            "a,b\n1,2\n".encode("utf-16-be"),
            {},
            ".path: FILE is not text in utf-8: every other byte is 0, as in utf-16-be without its mark; give "
            "data.source.encoding=utf-16-be",
        ),
        (
            "a,b\n1,2\n",
            {"encoding": "utf-16"},
            ".path: FILE has no byte 0, as text in utf-16 has; give its encoding, such as data.source.encoding=utf-8",
        ),
        (
            b"PK\x03\x04..[Content_Types].xml",
            {},
            ".path: FILE is a workbook of Excel or another office program, not a CSV file; save its sheet as a CSV "
            "file",
        ),
        (
            b"PK\x03\x04..",
            {},
            ".path: FILE is a ZIP archive; unpack it, or compress it by gzip, which is read as it is",
        ),
        (
            gzip.compress(b"SQLite format 3\0...", mtime=0),
            {},
            ".path: FILE is an SQLite database, not a CSV file; write the table as a CSV or Parquet file",
        ),
        (
            b"<!DOCTYPE html>\n<html>",
            {},
            ".path: FILE is a web page or XML, not a CSV file; download the table itself",
        ),
        (b'[{"a": 1}]', {}, ".path: FILE is JSON, not a CSV file; write the table as a CSV or Parquet file"),
        ("sep=;\na;b\n1;2\n", {}, ".path: FILE begins with a line 'sep=', which Excel alone reads; remove it"),
        (
            "a,b\n1,2,\n",
            {},
            ".path: FILE line 2 ('1,2,'): 3 columns, the header has 2; its last cell is empty: remove the "
            "delimiter at the end of rows, or add one to the header",
        ),
        (
            "a;b\n1,5;2\n",
            {},
            ".path: FILE line 2 ('1,5;2'): 2 columns, the header has 1; give data.source.delimiter=';'",
        ),
        (
            "My table\na,b\n1,2\n",
            {},
            ".path: FILE line 2 ('a,b'): 2 columns, the header has 1; the first line, 'My table', is taken for the "
            "header: remove lines that are above it",
        ),
        (
            'a,b\n"1,5",2\n',
            {"types": {"a": "float64"}},
            ".path: FILE, column 'a', row 1: '1,5' is not a number; leave the column out, or list words that stand for "
            "missing values in data.source.missing; if it is to be one, give data.source.decimal=comma",
        ),
        (
            "a;b\n1.5;2\n",
            {"delimiter": ";", "decimal": "comma", "types": {"a": "float64"}},
            ".path: FILE, column 'a', row 1: '1.5' is not a number; leave the column out, or list words that stand for "
            "missing values in data.source.missing",
        ),
    ],
)
def test_a_table_that_is_wrong_is_explained(
    table: Write, content: str | bytes, fields: dict[str, Any], problem: str
) -> None:
    assert problem_of(table(content, **fields)) == "data.source" + problem


@pytest.mark.parametrize(
    ("cells", "marks", "expected"),
    [
        (["1,5", "-,25", "+2", " 3,0 "], {"decimal": "comma"}, ("float64", [1.5, -0.25, 2, 3])),
        (["1.5", "2,5"], {"decimal": "comma"}, ("object", [b"1.5", b"2,5"])),
        (
            ["1.234,5", "12", "1.234.567"],
            {"decimal": "comma", "thousands": "point"},
            ("float64", [1234.5, 12, 1234567]),
        ),
        (["1,234", "-12,345,678", "7"], {"thousands": "comma"}, ("int64", [1234, -12345678, 7])),
        (["1,23", "7"], {"thousands": "comma"}, ("object", [b"1,23", b"7"])),
        (["1 234", "1\u00a0234", "1\u202f234.5"], {"thousands": "space"}, ("float64", [1234, 1234, 1234.5])),
        (["1'234", "1_234"], {"thousands": "apostrophe"}, ("object", [b"1'234", b"1_234"])),
        (["9.007.199.254.740.993", "1"], {"decimal": "comma", "thousands": "point"}, ("int64", [2**53 + 1, 1])),
        (["?", "1,5"], {"decimal": "comma", "missing": ("?",)}, ("float64", [np.nan, 1.5])),
    ],
)
def test_numbers_may_have_other_marks(table: Write, cells: list[str], marks: dict[str, Any], expected: Any) -> None:
    name, found = values(table("x\n" + "\n".join(cells) + "\n", delimiter=";", **marks))["x"]
    assert name == expected[0]
    np.testing.assert_array_equal(found, expected[1])


def test_two_equal_marks_are_refused() -> None:
    with pytest.raises(ValidationError, match="decimal and thousands are both comma; give two marks"):
        Table(path="t.csv", decimal="comma", thousands="comma")


def test_a_header_of_too_many_columns_is_not_read(table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "MOST_COLUMNS", 3)
    assert problem_of(table(gzip.compress(b"a,b,c,d\n1,2,3,4\n"))) == (
        "data.source.path: FILE is not a readable CSV file: a line has more than 3 columns"
    )


def test_a_column_that_is_not_read_may_be_there_twice_and_hold_anything(table: Write) -> None:
    assert values(table("a,a,b\nx,,3\n", columns={"y": "b"})) == {"y": ("int64", [3])}


def test_stray_quotes_are_text(table: Write) -> None:
    assert values(table('a,b\n5" pipe,x\n')) == {"a": ("object", [b'5" pipe']), "b": ("object", [b"x"])}


def test_a_row_longer_than_a_block_is_a_message(table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "BLOCK_BYTES", 64)
    monkeypatch.setattr(table_files, "BLOCK_ROWS", 1)
    message = problem_of(table('a,b\n1,"' + "x\n" * 1000 + '"\n'))
    assert message == "data.source.path: FILE has a row of more than 64 bytes, which is not read; shorten its cells"


def test_an_endless_line_in_a_small_file_is_not_read_to_its_end(table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "LINE_LENGTH", 1000)
    assert problem_of(table(gzip.compress(b"0" * 100_000))) == (
        "data.source.path: FILE is not a readable CSV file: a line has 1,000 characters or more"
    )


def test_the_time_of_a_wide_table_grows_with_its_columns(table: Write) -> None:
    def seconds(width: int) -> float:
        names, cells = ",".join(f"x{i}" for i in range(width)), ",".join("1" for _ in range(width))
        source = table(f"y,{names}\n" + f"0,{cells}\n" * 5, columns={"label": "y", "x": "*"})
        begun = time.process_time()
        assert source.load()["x"].shape == (5, width)
        return time.process_time() - begun

    ratio = min(seconds(8_000) for _ in range(3)) / min(seconds(1_000) for _ in range(3))
    assert ratio < 24  # 8 where it is linear, 64 where it is quadratic


def test_parquet_says_the_types_and_the_missing_values(tmp_path: Path) -> None:
    columns = {
        "i": pa.array([1, None], pa.int32()),
        "u": pa.array([1, 2], pa.uint8()),
        "f": pa.array([0.5, None], pa.float32()),
        "d": pa.array([Decimal("1.5"), Decimal("2")]),
        "b": pa.array([True, False]),
        "s": pa.array(["7", None]),
        "raw": pa.array([b"\x89PNG", b""]),
        "e": pa.array(["x", "y"]).dictionary_encode(),
        "t": pa.array([date(2020, 1, 2), date(2021, 1, 1)]),
        "a.b": pa.array([1, 2]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = Table(path=str(tmp_path / "t.parquet")).load()
    assert {name: (array.dtype.name, array[:].tolist()) for name, array in found.items() if name not in "if"} == {
        "u": ("int64", [1, 2]),
        "d": ("float64", [1.5, 2]),
        "b": ("bool", [True, False]),
        "s": ("object", [b"7", b""]),
        "raw": ("object", [b"\x89PNG", b""]),
        "e": ("object", [b"x", b"y"]),
        "t": ("object", [b"2020-01-02", b"2021-01-01"]),
        "a.b": ("int64", [1, 2]),
    }
    np.testing.assert_array_equal(found["i"][:], [1, np.nan])
    np.testing.assert_array_equal(found["f"][:], np.array([0.5, np.nan], np.float32))
    assert found["f"].dtype == np.float32


def test_parquet_with_nested_columns_names_them(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1], "list": [[1, 2]], "map": [{"k": 1}]}), file)
    assert problem_of(Table(path=str(file))).startswith(
        "data.source.columns: FILE has columns that are neither numbers, text nor bytes: 'list' (list<"
    )
    assert values(Table(path=str(file), columns={"x": "a"})) == {"x": ("int64", [1])}


def test_a_damaged_parquet_file_says_after_which_row_and_what_to_do(tmp_path: Path) -> None:
    file, rows = tmp_path / "t.parquet", 3 << 16
    table = pa.table({"a": range(rows)})
    pq.write_table(table, file, 1 << 15, use_dictionary=False, compression="none", write_page_checksum=True)
    fix = "; fetch it again, or write it anew, without encryption"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1  # One bit of a number: only the checksum shows it.
    file.write_bytes(damaged)
    problem = problem_of(Table(path=str(file)))
    assert problem.startswith("data.source.path: FILE cannot be read after row 65,536: could not verify page integrity")
    assert problem.endswith(fix)
    file.write_bytes(whole[: len(whole) // 2])
    problem = problem_of(Table(path=str(file)))
    assert problem.startswith("data.source.path: FILE is not a readable Parquet file: ")
    assert problem.endswith(fix)
    file.write_bytes(b"PARE" + whole[4:-4] + b"PARE")
    expected = "data.source.path: FILE is an encrypted Parquet file, not a CSV file; write it without encryption"
    assert problem_of(Table(path=str(file))) == expected


def test_a_large_table_is_read_by_index_from_a_temporary_file(
    table: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3000
    content = "n,text,a,b\n" + "".join(f"{i},{'é' * (i % 7)}{i},{i / 4},{-i}\n" for i in range(rows))
    columns = {"n": "n", "text": "text", "x": ("a", "b")}
    small = table(content, columns=columns).load()
    monkeypatch.setattr(table_files, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(table_files, "BLOCK_ROWS", 1)
    monkeypatch.setattr(spool, "MEMORY_BYTES", 20_000)
    monkeypatch.setattr(table_fields, "HELD_BYTES", 10_000)
    large = table(content, columns=columns).load()
    order = np.random.default_rng(0).permutation(rows)[:500]
    for name, array in large.items():
        assert isinstance(array, DiskArray)
        assert (array.shape, array.dtype) == (small[name].shape, small[name].dtype)
        np.testing.assert_array_equal(array[order], small[name][order])
        part = rows_of(array, order)
        np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in scan(part)]), small[name][np.sort(order)])
    text = large["text"]
    assert isinstance(text, DiskArray)
    assert text.sizes(order).tolist() == [len(value) for value in small["text"][order]]
    assert text.nbytes >= sum(len(value) for value in small["text"][:])


def test_a_temporary_file_leaves_the_disk_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MEMORY_BYTES", 10)
    monkeypatch.setattr(spool, "SPARE_BYTES", 1 << 60)
    with pytest.raises(
        DataError, match=r"at: it needs more than 1 bytes of temporary disk space in .*are free; name a"
    ):
        Spool("at", "it").append({"x": np.zeros(3)})


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_the_embedded_tables_are_those_of_scikit_learn(name: str) -> None:
    data = (load_iris if name == "iris" else load_wine)()
    label = "species" if name == "iris" else "cultivar"
    fields = Table(path=f"expkit:{name}.csv", columns={"features": "*", "label": label}).load()
    features, labels = fields["features"][:], fields["label"][:].tolist()
    known = ~np.isnan(features)
    assert known.mean() == 1 if name == "iris" else 0.95 < known.mean() < 0.99
    np.testing.assert_array_equal(features[known], data.data[known])
    words = [str(word).encode() for word in data.target_names] if name == "iris" else [b"first", b"second", b"third"]
    assert labels == [words[target] for target in data.target]


def test_an_embedded_table_that_is_not_there_is_named() -> None:
    assert problem_of(Table(path="expkit:irs.csv")).startswith(
        f"data.source.path: no file {EMBEDDED / 'irs.csv'}; did you mean 'iris.csv'?"
    )
