"""Points in text files: what is read, what is kept, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from imgtool.errors import ImgtoolError
from imgtool.io.points import parse_matches, parse_points, read_matches, read_points

POINTS = [[1, 2], [3.5, -4]]


@pytest.mark.parametrize(
    "text",
    [
        "x,y\n1,2\n3.5,-4\n",
        "1,2\n3.5,-4",
        "\ufeffx,y\r\n1,2\r\n\r\n3.5,-4\r\n",
        " ,X,Y\n0,1,2\n1,3.5,-4\n",  # as ImageJ and the landmarks of histology have it
        "name;y;x\na;2;1\nb;-4;3.5\n",
        "x\ty\tz\n1\t2\t9\n3.5\t-4\t9\n",
        "# x y\n1.000000000000000000e+00 2.0\n 3.5   -4\n",  # numpy.savetxt
        "1 2\n3.5 -4\n",
        'y,"a ""b"", c",x\n2,"1,5",1\n-4,,3.5\n',
    ],
    ids=repr,
)
def test_points_are_found_among_whatever_columns(text):
    assert_array_equal(parse_points(text).points, POINTS)


def test_all_other_columns_are_kept():
    text = 'id,"cell, kind",x,y\n7,"a ""b""",1,2\n8,,3.5,-4\n'
    table = parse_points(text)
    assert table.text(table.points) == text
    assert table.text(np.array([[0.1, 1e-7], [1 / 3, 2000]])) == (
        'id,"cell, kind",x,y\n7,"a ""b""",0.1,1e-07\n8,,0.333333333333,2000\n'
    )


@given(
    st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=1, max_size=9),
    st.sampled_from([",", ";", "\t", " "]),
)
def test_what_is_written_is_read_again(points, delimiter):
    table = parse_points(f"x{delimiter}y\n" + f"0{delimiter}0\n" * len(points))
    again = parse_points(table.text(np.array(points)))
    assert_array_equal(np.abs(again.points - points) <= 1e-11 * np.abs(points) + 1e-300, True)
    assert again.header == ["x", "y"]


@given(st.text(max_size=60))
def test_any_text_is_points_or_one_sentence(text):
    for parse in (parse_points, parse_matches):
        try:
            parse(text)
        except ImgtoolError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "x_fixed,y_fixed,x_moving,y_moving\n1,2,5,6\n3.5,-4,7,8\n",
        "name,Moving Y,Moving X,fixed.x,fixed.y\na,6,5,1,2\nb,8,7,3.5,-4\n",
        "1,2,5,6\n3.5,-4,7,8\n",
        "x,y,x,y\n1,2,5,6\n3.5,-4,7,8\n",
    ],
)
def test_matched_points_are_those_of_both_images(text):
    fixed, moving = parse_matches(text)
    assert_array_equal(fixed, POINTS)
    assert_array_equal(moving, [[5, 6], [7, 8]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; points need a line x,y each"),
        (b"\n \n", "is empty; points need a line x,y each"),
        (b"x,y\n", "has a header but no points"),
        (b"x,x,y\n1,2,3\n", "its header must name one column x and one y"),
        (b"x,z\n1,2\n", "its header must name one column x and one y"),
        (b"a,b\n1,2\n", "its first line must name columns x and y, or begin with two numbers, not 'a, b'"),
        (b"1\n2\n", "its first line must name columns x and y, or begin with two numbers, not '1'"),
        (b"x,y\n1,2\n3\n", "line 3 has 1 columns where the first has 2"),
        (b"x,y\n1,2\n3,4,5\n", "line 3 has 3 columns where the first has 2"),
        (b"x,y\n1,two\n", "line 2: y is 'two', not a number"),
        (b"x;y\n1,5;2\n", "line 2: x is '1,5', not a number"),
        (b"x,y\n1,\n", "line 2: y is '', not a number"),
        (b"x,y\n1_0,2\n", "line 2: x is '1_0', not a number"),
        (b"x,y\n1,2\nnan,4\n", "line 3: 'nan, 4' is no place in an image; remove the line"),
        (b"x,y\n1,-inf\n", "line 2: '1, -inf' is no place in an image"),
        (b'x,y\n"1,2\n', "line 2 is damaged (unexpected end of data)"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is no UTF-8 text; save the points as CSV"),
        ("x,y\n1,2\n".encode("utf-16"), "is no UTF-8 text; save the points as CSV"),
    ],
)
def test_damage_is_one_sentence_with_the_line(tmp_path, content, said):
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    with pytest.raises(ImgtoolError) as caught:
        read_points(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "x,y\n1,2\n",
            "matched points need the columns x_fixed, y_fixed, x_moving, y_moving; the first line is 'x, y'",
        ),
        ("1,2,3,4\n1,2,3\n", "line 2 has 3 columns where the first has 4"),
        ("1,2,3,4\n1,2,3,z\n", "line 2: y_moving is 'z', not a number"),
        ("x,y,x,y\n", "has a header but no points"),
    ],
)
def test_damage_of_matched_points_too(tmp_path, content, said):
    path = tmp_path / "points.csv"
    path.write_text(content)
    with pytest.raises(ImgtoolError) as caught:
        read_matches(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_file_that_is_no_table_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "points.csv"
    with path.open("wb") as stream:
        stream.truncate(1 << 27)
    with pytest.raises(ImgtoolError, match="larger than 64 MiB; not a table of points"):
        read_points(path)
