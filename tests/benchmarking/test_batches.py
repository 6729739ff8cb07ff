"""What scoring takes by its batch."""

from benchmarks.batches import measure, use_of


def test_each_batch_has_its_use() -> None:
    found = measure((2, 5), images=5, tasks=2, rounds=1)
    assert list(found) == [2, 5]
    assert all(0 <= use.system <= use.seconds and use.seconds > 0 and use.faults >= 0 for use in found.values())


def test_pages_that_a_call_touches_are_counted() -> None:
    few, many = use_of(lambda: None), use_of(lambda: bytearray(b"x" * 2**26))
    assert many.faults > few.faults + 2**26 / 2**12
