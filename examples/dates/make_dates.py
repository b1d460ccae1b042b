"""Dates in words next to ISO 8601, a row each: ``python make_dates.py > dates.csv`` made the file of this folder."""

from __future__ import annotations

import csv
import random
import sys
from datetime import date, timedelta

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}


def words(number: int) -> str:
    """A number below 100."""
    if number < len(ONES):
        return ONES[number]
    return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")


def ordinal(number: int) -> str:
    """Which one, as twenty-first."""
    head, hyphen, last = words(number).rpartition("-")
    return head + hyphen + ORDINALS.get(last, last + "th")


def year_in_words(year: int) -> str:
    """As years are said."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return "two thousand" + (f" and {words(rest)}" if rest else "")
    if rest == 0:
        return f"{words(century)} hundred"
    return f"{words(century)} {words(rest) if rest > 9 else 'oh ' + words(rest)}"


def written(day: date, draw: random.Random) -> str:
    """A date in one of the ways in which people write it."""
    number, which, month = str(day.day), ordinal(day.day), day.strftime("%B")
    year = draw.choice((str(day.year), year_in_words(day.year)))
    return draw.choice(
        (
            f"the {which} of {month}, {year}",
            f"{month} the {which}, {year}",
            f"{month} {number}, {year}",
            f"{number} {month[:3]} {year}",
            f"{day.strftime('%A')}, the {which} of {month} {year}",
        )
    )


def main() -> None:
    """Write 6,000 dates from 1900 to 2099, none twice."""
    draw = random.Random(1)
    days = draw.sample(range((date(2100, 1, 1) - date(1900, 1, 1)).days), 6_000)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("written", "iso"))
    for number in days:
        day = date(1900, 1, 1) + timedelta(days=number)
        rows.writerow((written(day, draw), day.isoformat()))


if __name__ == "__main__":
    main()
