"""What a pattern matches, and which ones are refused."""

import pytest

from schemas.patterns import MAX_PATTERN, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("a.b", "a\nb", True),
        ("(?-s)a.b", "a\nb", False),
        ("b$", "ab\n", False),
        ("(?m)b$", "ab\n", True),
        ("É", "é", False),
        ("(?i)É", "é", True),
        (r"^\pL{3}$", "Ähé", True),
        (r"^\d$", "٣", False),
        ("\0", "a\0b", True),
        ("", "", True),
    ],
)
def test_a_pattern_is_found_anywhere_in_a_text(pattern: str, text: str, found: bool) -> None:
    assert compile_pattern(pattern)(text) is found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a", "missing ): (a"),
        ("[a", "missing ]: [a"),
        ("*", "no argument for repetition operator: *"),
        ("a\\", "trailing \\"),
        ("(?<=a)b", "(?<"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a{1001}", "invalid repetition size: {1001}"),
        (r"\pL{1,200}", "too large"),
        ("a" * (MAX_PATTERN + 1), f"more than {MAX_PATTERN} characters"),
    ],
)
def test_what_the_engine_does_not_take_is_refused_with_its_reason(
    pattern: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        compile_pattern(pattern)
    assert reason in str(caught.value)
    assert "(?s-imU)" not in str(caught.value)


def test_no_text_makes_a_pattern_take_more_than_linear_time() -> None:
    """An engine that tries one way after the other would not end in our time."""
    assert not compile_pattern("^(a|a|aa)+$")("a" * 100_000 + "b")
