import pytest

from budgetbert.reporting import numbers, page

pytestmark = pytest.mark.without_backend


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.number(1234567), "1,234,567"),
        (numbers.number(1234.5, 2), "1,234.50"),
        (numbers.significant(0.00123456), "0.001235"),
        (numbers.share(0.345), "34%"),
        (numbers.share(0.345, 1), "34.5%"),
        (numbers.part(1, 3), "33.3%"),
        (numbers.part(1, 10_000), "< 0.1%"),
        (numbers.part(0, 3), "–"),
        (numbers.part(3, 3), "100%"),
        (numbers.rate(0), "none"),
        (numbers.rate(3.2e-6), "3.2 per million"),
        (numbers.rate(0.0045), "0.45%"),
        (numbers.score(0.8132), "81.3"),
        (numbers.nats(2.4128), "2.413"),
        (numbers.short(12_100_000_000), "12.1B"),
        (numbers.duration(600), "10 min 0 s"),
        (numbers.size(512), "512 B"),
        (numbers.size(1_234_567), "1.23 MB"),
        (numbers.signed(-0.26), "−0.3"),
        (numbers.signed(1.5, 3), "+1.500"),
        (numbers.difference(103.1, 100), "+3.1%"),
        (numbers.difference(100.01, 100), "as planned"),
        (numbers.difference(None, 100), ""),
        (numbers.counted(1, "seed"), "1 seed"),
        (numbers.counted(3, "seed"), "3 seeds"),
        (numbers.fact([1, "a"]), "1, a"),
        (numbers.fact(True), "yes"),
        (numbers.fact(2e9), "2B"),
    ],
)
def test_a_number_is_written_in_one_way(written, expected):
    assert written == expected


def test_what_is_not_known_is_a_dash():
    functions = (numbers.number, numbers.significant, numbers.share, numbers.rate, numbers.score, numbers.nats)
    functions += (numbers.short, numbers.duration, numbers.size, numbers.signed)
    assert {function(None) for function in functions} == {"–"}


def test_pages_know_every_way_to_write_a_number():
    names = {name for name in vars(numbers) if not name.startswith("_") and name in numbers.FILTERS}
    assert set(numbers.FILTERS) == names
    template = page.environment().from_string("{{ 1234 | number }} {{ none | nats }} {{ 3 | counted('row') }}")
    assert template.render() == "1,234 – 3 rows"
