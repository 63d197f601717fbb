import gzip
import json

import polars as pl
import pytest

from pellucid.data.tables import infer_types, read_table
from pellucid.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def problem(path):
    with pytest.raises(DataError) as caught:
        read_table(path)
    return str(caught.value)


def test_types_are_inferred_value_by_value(write):
    table, notes = read_table(
        write(
            "whole,real,flag,day,moment,word,mixed,none\n"
            " 1 ,1.5,True,2020-01-31,2020-01-31 10:20,red,1,NA\n"
            "2,-2e3,false,2021-12-01,2021-12-01 00:00,?,x,\n"
            ",nan,,,,blue,2.5,NULL\n"
        )
    )
    assert table.dtypes == [
        pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Datetime("us"), pl.String, pl.String, pl.String,
    ]  # fmt: skip
    assert table["whole"].to_list() == [1, 2, None]
    assert table["real"].to_list() == [1.5, -2000.0, None]
    assert table["flag"].to_list() == [True, False, None]
    assert table["word"].to_list() == ["red", None, "blue"]
    assert table["none"].null_count() == 3
    assert notes == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (["31.01.2020", "01.02.2021"], ["2020-01-31", "2021-02-01"]),
        (["1/2/2020", "3/31/2020"], ["2020-01-02", "2020-03-31"]),  # months first, where both would do
        (["2/1/2020", "31/3/2020"], ["2020-01-02", "2020-03-31"]),  # unless a day is above 12
        (["2020/01/31", None], ["2020-01-31", "None"]),
    ],
)
def test_dates_in_the_common_notations(text, expected):
    table, _ = infer_types(pl.DataFrame({"day": text}))
    assert [str(d) for d in table["day"].to_list()] == expected


def test_a_time_with_a_zone_is_read_as_utc():
    table, _ = infer_types(pl.DataFrame({"t": ["2020-01-31T10:00:00Z", "2020-01-31T12:00:00+02:00"]}))
    assert [str(t) for t in table["t"]] == ["2020-01-31 10:00:00"] * 2


def test_separators_quotes_bom_gzip_and_utf16_are_understood(write):
    same = [
        write('a,b\n1,"x, y"\n2,z\n'),
        write("a;b\n1;x, y\n2;z\n", "semicolon.csv"),
        write("a\tb\n1\tx, y\n2\tz\n", "t.tsv"),
        write(b'\xef\xbb\xbfa,b\r\n1,"x, y"\r\n2,z\r\n', "bom.csv"),
        write('a,b\n1,"x, y"\n2,z\n'.encode("utf-16"), "utf16.csv"),
        write(gzip.compress(b'a,b\n1,"x, y"\n2,z\n'), "t.csv.gz"),
    ]
    tables = [read_table(path)[0] for path in same]
    assert tables[0].rows() == [(1, "x, y"), (2, "z")]
    assert all(t.equals(tables[0]) for t in tables)


def test_parquet_and_json_lines_keep_their_types(tmp_path):
    table = pl.DataFrame({"a": [1, None], "b": ["1", "2"], "c": [True, False]})
    table.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")[0].equals(table)
    lines = [{"a": 1, "b": "1", "day": "2020-01-31"}, {"a": 2.5, "b": "2", "day": None}]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    read = read_table(tmp_path / "t.jsonl")[0]
    assert read.dtypes == [pl.Float64, pl.String, pl.Date]
    assert read["a"].to_list() == [1.0, 2.5]


def test_lines_of_old_macs_and_separators_at_the_end(write):
    assert read_table(write("a,b\r1,2\r3,4\r"))[0].rows() == [(1, 2), (3, 4)]
    assert read_table(write("a,b,\n1,2,\n3,4,\n"))[0].columns == ["a", "b"]


def test_blank_lines_are_left_out_and_said(write):
    table, notes = read_table(write("a,b\n1,2\n\n3,4\n  \n"))
    assert table.rows() == [(1, 2), (3, 4)]
    assert notes == ["2 empty lines were left out"]


def test_unnamed_columns_get_a_name(write):
    assert read_table(write(",a\n0,1\n1,2\n"))[0].columns == ["column 1", "a"]


def test_numbers_that_were_not_read_as_such_are_said(write):
    comma = "size\n" + "\n".join(f'"{i},5"' for i in range(20))
    assert read_table(write(comma))[1] == [
        "column 'size' is read as text: values such as '0,5' have a comma in the number; write 12.5, not 12,5"
    ]
    dirty = "age\n" + "\n".join(str(i) if i != 7 else "seven" for i in range(20))
    assert read_table(write(dirty))[1] == [
        "column 'age' is read as text: 1 of 20 values are no numbers, the first is 'seven' in row 8"
    ]


def test_a_missing_header_is_suspected(write):
    _, notes = read_table(write("5.1,3.5,0\n4.9,3.0,1\n4.7,3.2,1\n"))
    assert "the first line (5.1, 3.5, 0) was read as the column names, yet it holds numbers" in notes[0]


def test_an_empty_file(write):
    assert "the file is empty" in problem(write(""))
    assert "the file is empty" in problem(write("\n \n"))


def test_a_header_without_rows(write):
    text = problem(write("a,b\n"))
    assert "the table has a header but no rows" in text
    assert "at least one row below the header" in text


def test_binary_junk_named_csv(write):
    junk = bytes(range(256)) * 10
    assert "the file is not text" in problem(write(junk))
    assert "binary data (it begins with 00 01 02" in problem(write(junk))
    assert "a zip archive or an Excel workbook" in problem(write(b"PK\x03\x04rest"))


@pytest.mark.parametrize("row", ["3,4,5", "3"])
def test_a_ragged_row_is_named_by_its_line(write, row):
    text = problem(write(f'a,b\n1,"two\nlines"\n{row}\n5,6\n'))
    assert "a row has the wrong number of fields" in text
    assert "line 4" in text
    assert "2 fields, as in the header" in text
    assert f"{row.count(',') + 1}: {row}" in text


def test_an_open_quote(write):
    assert "t.csv" in problem(write('a,b\n1,"x\n3,4\n'))


def test_another_encoding_is_named_by_line_and_byte(write):
    text = problem(write("name,size\nAnna,1\nJosé,2\n".encode("latin-1")))
    assert "the file is not UTF-8 text" in text
    assert "line 3, byte 20" in text
    assert "byte 0xe9" in text
    assert "save the file as UTF-8" in text


def test_two_columns_of_one_name(write):
    text = problem(write("a,b,a\n1,2,3\n"))
    assert "two columns have the same name" in text
    assert "'a' 2 times" in text


def test_a_damaged_parquet_and_json_file(write):
    assert "a Parquet file" in problem(write(b"PAR1 nothing", "t.parquet"))
    text = problem(write('{"a": 1}\n{"a": \n{"a": 3}\n', "t.jsonl"))
    assert "the JSON lines cannot be read" in text
    assert "t.jsonl, line 2" in text


def test_a_cut_gzip(write):
    assert "cut short or damaged" in problem(write(gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-20], "t.csv.gz"))
