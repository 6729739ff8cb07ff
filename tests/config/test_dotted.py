import pytest

from config.test_tree import Config, Nested, OtherPlain, Slotted, Train
from softtf.config.dotted import first_difference, with_settings
from softtf.config.tree import to_dict
from softtf.errors import UserError


def test_settings_are_changed_by_their_dotted_names_and_no_others() -> None:
    config = Config("a", Nested(Slotted(2)), OtherPlain(0.5))
    changed = with_settings(config, {"train.epochs": 9, "toy.inner.size": 7, "limit": 3, "toy.note": "x"})
    assert changed == Config("a", Nested(Slotted(7), note="x"), OtherPlain(0.5), Train(9), limit=3)
    assert config == Config("a", Nested(Slotted(2)), OtherPlain(0.5))
    assert with_settings(config, {}) == config


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("train.epoch", ["'epoch'", "'epochs'"]),
        ("trian.epochs", ["'trian'", "'train'"]),
        ("toy.inner.kidn", ["'kidn'"]),
        ("cache.size", ["'cache.size'", "no cache", "null"]),
        ("train.epochs", ["epochs", "'many'"]),
    ],
)
def test_settings_that_cannot_be_changed_are_named(name: str, parts: list[str]) -> None:
    config = Config("a", Nested(Slotted(2)))
    with pytest.raises(UserError) as caught:
        with_settings(config, {name: "many"})
    assert [part for part in parts if part not in str(caught.value)] == []


def test_the_first_difference_is_named_with_both_values() -> None:
    one, other = to_dict(Config("a", Nested(Slotted(2)))), to_dict(Config("a", Nested(Slotted(3)), layers="1"))
    assert first_difference(one, other, "config") == ("config.toy.inner.size", 2, 3)
    assert first_difference(one, one, "config") == ("config", one, one)
