"""Content phrases in German and English: number words, dates, clock times, amounts (num2words and Babel, no download).

Each phrase is a pair of lower-case strings. German writes 53 as "dreiundfünfzig", the 14th hour as "vierzehn uhr" and
1,234.50 as "1.234,50": none of it translates word by word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import sha256

import numpy as np

Pair = tuple[str, str]
SHARED_BELOW = 13  # the numbers that every split of the corpus may use
SPLITS = ("train", "valid", "test")


@cache
def words(number: float, kind: str = "cardinal") -> Pair:
    """A number in words.

    kind: cardinal, ordinal, year or currency (euro).
    """
    from num2words import num2words

    extra = {"currency": "EUR"} if kind == "currency" else {}
    german, english = (num2words(number, lang=lang, to=kind, **extra).lower() for lang in ("de", "en"))
    return german, english.replace(",", " ,")


def cardinal(rng: np.random.Generator) -> Pair:
    """2 to 9,999, each number of digits about as likely as the others."""
    return words(int(rng.integers(2, (13, 100, 1000, 10000)[rng.integers(4)])))


def date(rng: np.random.Generator) -> Pair:
    """A day of the years 1900 to 2099, sometimes without the year."""
    from babel.dates import get_month_names

    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1900, 2100))
    (day_de, day_en), (year_de, year_en) = words(day, "ordinal"), words(year, "year")
    german = f"am {day_de}n {get_month_names('wide', locale='de')[month].lower()}"
    english = f"on {get_month_names('wide', locale='en')[month].lower()} {day_en}"
    return (f"{german} {year_de}", f"{english} , {year_en}") if rng.random() < 0.8 else (german, english)


def weekday(rng: np.random.Generator) -> Pair:
    """A day of the week, which every split may use."""
    from babel.dates import get_day_names

    day = int(rng.integers(7))
    return (
        f"am {get_day_names('wide', locale='de')[day].lower()}",
        f"on {get_day_names('wide', locale='en')[day].lower()}",
    )


def clock(rng: np.random.Generator) -> Pair:
    """A time to five minutes: 24 hours in German, 12 hours and the part of the day in English."""
    hour, minute = int(rng.integers(1, 24)), int(rng.integers(12)) * 5
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    hour_de = "ein" if hour == 1 else words(hour)[0]
    minute_de, minute_en = (f" {word}" for word in words(minute)) if minute else ("", " o'clock")
    return f"um {hour_de} uhr{minute_de}", f"at {words((hour - 1) % 12 + 1)[1]}{minute_en} {part}"


def ago(rng: np.random.Generator) -> Pair:
    """'vor drei tagen', 'three days ago'."""
    german, english = (("tagen", "days"), ("wochen", "weeks"), ("monaten", "months"), ("jahren", "years"))[
        rng.integers(4)
    ]
    n_de, n_en = words(int(rng.integers(2, 100)))
    return f"vor {n_de} {german}", f"{n_en} {english} ago"


def ahead(rng: np.random.Generator) -> Pair:
    """'in drei tagen', 'in three days'."""
    german, english = (("tagen", "days"), ("wochen", "weeks"), ("monaten", "months"), ("jahren", "years"))[
        rng.integers(4)
    ]
    n_de, n_en = words(int(rng.integers(2, 100)))
    return f"in {n_de} {german}", f"in {n_en} {english}"


def amount(rng: np.random.Generator) -> Pair:
    """Euros: whole and in words, with cents in words, or in figures the way each language writes them."""
    from babel.numbers import format_currency

    euros, kind = int(rng.integers(2, (13, 100, 1000, 10000)[rng.integers(4)])), rng.integers(3)
    if kind == 0:
        german, english = words(euros)
        return f"{german} euro", f"{english} euros"
    cents = int(rng.integers(2, 100))
    if kind == 1:
        return words(euros + cents / 100, "currency")
    german, english = (format_currency(euros + cents / 100, "EUR", locale=locale) for locale in ("de_DE", "en_US"))
    return german.replace("\xa0", " "), english.replace("€", "€ ")


def owner(german: str) -> str:
    """The only split that may use a content phrase: 5 % valid, 5 % test, else train; decided by its checksum."""
    bucket = int(sha256(german.encode()).hexdigest()[:8], 16) % 20
    return SPLITS[bucket + 1] if bucket < 2 else "train"


@lru_cache(maxsize=1)
def shared() -> frozenset[str]:
    """Phrases all splits may use, because nothing can be read without them: the numbers 2 to 12."""
    return frozenset(words(n)[0] for n in range(2, SHARED_BELOW))


def draw(make: Callable[[np.random.Generator], Pair], rng: np.random.Generator, split: str) -> tuple[Pair, bool]:
    """A phrase this split may use, and whether it belongs to it alone."""
    while True:
        pair = make(rng)
        if make is weekday or pair[0] in shared():
            return pair, False
        if owner(pair[0]) == split:
            return pair, True
