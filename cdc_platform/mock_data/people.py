"""Pools of names and places by country, from Faker, and the vectorised draws of a person and an address.

Faker is asked a few thousand times a seed (about a second, then remembered); every row is a combination of what
it said. States, cities and postal codes belong to their country, and postal codes to their state where Faker
knows them (USA, Canada).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from faker import Faker

from cdc_platform.mock_data.sampling import Ints, Pool, between, codes


@dataclass(frozen=True, slots=True)
class Country:
    """`areas` are the first digits of its telephone numbers, dialling code included, and `line` their last ones."""

    name: str
    share: float
    locale: str
    areas: tuple[int, int]
    line: tuple[int, int]
    line_digits: int
    house_number_first: bool = True


# North American numbers stay in the 555 exchange; the others are mobile ranges.
COUNTRIES = (
    Country("USA", 0.80, "en_US", (1201, 1989), (5_550_000, 5_559_999), 7),
    Country("Canada", 0.10, "en_CA", (1204, 1905), (5_550_000, 5_559_999), 7),
    Country("UK", 0.05, "en_GB", (4474, 4479), (0, 99_999_999), 8),
    Country("Germany", 0.015, "de_DE", (49151, 49179), (0, 99_999_999), 8, house_number_first=False),
    Country("France", 0.015, "fr_FR", (336, 337), (0, 99_999_999), 8),
    Country("Australia", 0.01, "en_AU", (614, 614), (0, 99_999_999), 8),
    Country("Spain", 0.01, "es_ES", (346, 347), (0, 9_999_999), 7, house_number_first=False),
)
COUNTRY_CODES = {country.name: code for code, country in enumerate(COUNTRIES)}
ADDRESS_COLUMNS = ("address_line1", "city", "state", "postal_code")

_NAMES = 1_000
_PLACES = 500
_MAIL_DOMAINS = pl.Series(["example.com", "example.org", "example.net"])
_FOLDED = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d"})


@dataclass(frozen=True, slots=True)
class People:
    """What rows are combined from; each pool is grouped by the index into COUNTRIES."""

    first_names: Pool
    last_names: Pool
    streets: Pool
    places: Pool


@lru_cache(maxsize=2)
def people(seed: int) -> People:
    """The pools of a seed."""
    fakers = [Faker(country.locale) for country in COUNTRIES]
    for code, faker in enumerate(fakers):
        faker.seed_instance(seed * len(COUNTRIES) + code)
    return People(
        Pool.of([_names("first_name", faker.first_name) for faker in fakers]),
        Pool.of([_names("last_name", faker.last_name) for faker in fakers]),
        Pool.of([pl.DataFrame({"street": [faker.street_name() for _ in range(_PLACES)]}) for faker in fakers]),
        Pool.of([_places(country, faker) for country, faker in zip(COUNTRIES, fakers, strict=True)]),
    )


def draw_countries(rng: np.random.Generator, count: int) -> Ints:
    """Indices into COUNTRIES by their shares."""
    return codes(rng, [country.share for country in COUNTRIES], count)


def draw_names(rng: np.random.Generator, pools: People, countries: Ints) -> pl.DataFrame:
    """Columns first_name, last_name and mailbox (the local part of an address, without anything unique)."""
    first = pools.first_names.draw(rng, countries)
    last = pools.last_names.draw(rng, countries)
    mailbox = pl.concat_str("first_name_mail", pl.lit("."), "last_name_mail")
    return pl.concat([first, last], how="horizontal").select("first_name", "last_name", mailbox.alias("mailbox"))


def draw_mail_domains(rng: np.random.Generator, count: int) -> pl.Series:
    """Domains that are reserved for examples, so that no mail ever reaches anyone."""
    return _MAIL_DOMAINS.gather(between(rng, 0, len(_MAIL_DOMAINS) - 1, count))


def draw_phones(rng: np.random.Generator, countries: Ints) -> pl.Series:
    """E.164 numbers: `+`, dialling code and national number, at most 15 digits."""

    def per_country(value: Callable[[Country], int]) -> Ints:
        return np.array([value(country) for country in COUNTRIES], dtype=np.int64)[countries]

    count = len(countries)
    area = between(rng, per_country(lambda it: it.areas[0]), per_country(lambda it: it.areas[1]), count)
    line = between(rng, per_country(lambda it: it.line[0]), per_country(lambda it: it.line[1]), count)
    number = area * per_country(lambda it: 10**it.line_digits) + line
    return "+" + pl.Series(number).cast(pl.String)


def draw_addresses(rng: np.random.Generator, pools: People, countries: Ints) -> pl.DataFrame:
    """The ADDRESS_COLUMNS, all filled."""
    street = pools.streets.draw(rng, countries)["street"]
    number = pl.Series(between(rng, 1, 2_499, len(countries))).cast(pl.String)
    first = pl.Series([country.house_number_first for country in COUNTRIES]).gather(countries)
    line = (number + " " + street).zip_with(first, street + " " + number)
    return pools.places.draw(rng, countries).with_columns(line.alias("address_line1")).select(ADDRESS_COLUMNS)


def mail_letters(name: str) -> str:
    """The name in letters and digits that every mail system takes: `Müller-Lüdenscheidt` is `mullerludenscheidt`."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_FOLDED))
    return re.sub("[^a-z0-9]", "", plain) or "customer"


def _names(column: str, draw: Callable[[], str]) -> pl.DataFrame:
    names = [draw() for _ in range(_NAMES)]
    return pl.DataFrame({column: names, f"{column}_mail": [mail_letters(name) for name in names]})


def _places(country: Country, faker: Faker) -> pl.DataFrame:
    rows = [_place(country, faker) for _ in range(_PLACES)]
    return pl.DataFrame(rows, schema=["city", "state", "postal_code"], orient="row")


def _place(country: Country, faker: Faker) -> tuple[str, str, str]:
    """City, state and postal code as the country writes them."""
    match country.locale:
        case "en_US":
            state = faker.state_abbr(include_territories=False, include_freely_associated_states=False)
            return faker.city(), state, faker.postcode_in_state(state)
        case "en_CA":
            province = faker.province_abbr()
            return faker.city(), province, faker.postcode_in_province(province)
        case "en_GB":
            return faker.city(), faker.county(), faker.postcode()
        case "fr_FR":
            return faker.city(), faker.region(), faker.postcode()
        case "es_ES":
            return faker.city(), faker.autonomous_community(), faker.postcode()
        case _:
            return faker.city(), faker.state(), faker.postcode()
