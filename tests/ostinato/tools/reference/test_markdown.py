from __future__ import annotations

from ostinato.tools.reference.markdown import MADE, described, escaped, page, table

DOCSTRING = """One sentence with ``code``,
    in two lines.

    Args:
        first, second: what
            they are; a_b.
        third: more.

    The end.
    """


def test_a_docstring_as_markdown() -> None:
    assert described(DOCSTRING) == (
        "One sentence with `code`, in two lines.\n\n"
        "**Args**\n\n- `first`, `second`: what they are; a\\_b.\n- `third`: more.\n\nThe end."
    )
    assert described(None) == ""


def test_text_has_no_signs_of_markdown_but_code() -> None:
    assert escaped("a_b <c> ``d_e`` [f]") == "a\\_b \\<c\\> `d_e` \\[f\\]"


def test_a_cell_may_have_a_bar() -> None:
    assert table(("a",), [("b | c",)]) == "| a |\n| --- |\n| b \\| c |"


def test_a_page_says_that_it_is_written_by_a_program() -> None:
    assert page("Title", "One.\n", "", "Two.") == f"# Title\n\n{MADE}\n\nOne.\n\nTwo.\n"
