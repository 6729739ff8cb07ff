import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from softtf.config.tree import Spec, from_dict, from_yaml, to_dict, to_yaml
from softtf.config.yaml import read_value
from softtf.errors import UserError


class ToySpec(Spec, family="toy"):
    pass


@dataclass(frozen=True)
class Plain(ToySpec, kind="plain"):
    pass


@dataclass(frozen=True)
class Nested(ToySpec, kind="nested"):
    inner: ToySpec = Plain()
    parts: tuple[ToySpec, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Slotted(ToySpec, kind="slotted"):
    size: int = 1


class OtherSpec(Spec, family="other"):
    pass


@dataclass(frozen=True)
class OtherPlain(OtherSpec, kind="plain"):
    rate: float


@dataclass(frozen=True)
class Train:
    epochs: int = 5
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"epochs must not be negative, not {self.epochs}")


@dataclass(frozen=True)
class Config:
    name: str
    toy: ToySpec
    other: OtherSpec | None = None
    train: Train = field(default_factory=Train)
    layers: str | tuple[int, ...] = "all"
    limit: int | None = None
    folder: Path = Path("runs")
    cache: Path | None = None
    policy: Literal["per-sample", "oracle", 1] = "per-sample"
    mode: Literal["a", "b"] | None = None
    pairs: tuple[tuple[str, int], ...] = ()
    only: Plain = Plain()


MINIMAL = {"name": "x", "toy": {"kind": "plain"}}

text = st.text(st.characters(exclude_categories=["Cs"]))
tricky = st.sampled_from(
    ["1e-3", "1E5", "-.5e+3", "1.5", "12", "0x1f", "yes", "null", "~", "", "2020-01-01", "=", "<<"]
)
strings = text | tricky
integers = st.integers(1 - 2**63, 2**63 - 1)
numbers = st.floats(allow_nan=False) | st.integers(-(10**6), 10**6).map(float)
specs = st.recursive(
    st.just(Plain()) | st.builds(Slotted, integers),
    lambda inner: st.builds(Nested, inner, st.lists(inner, max_size=2).map(tuple), st.none() | strings),
    max_leaves=4,
)
paths = strings.filter(lambda s: "\0" not in s).map(Path)
configs = st.builds(
    Config,
    name=strings,
    toy=specs,
    other=st.none() | st.builds(OtherPlain, numbers),
    train=st.builds(Train, st.integers(0, 2**63 - 1), numbers, st.tuples(numbers, numbers), st.booleans()),
    layers=strings | st.lists(integers, max_size=3).map(tuple),
    limit=st.none() | integers,
    folder=paths,
    cache=st.none() | paths,
    policy=st.sampled_from(["per-sample", "oracle", 1]),
    mode=st.sampled_from(["a", "b", None]),
    pairs=st.lists(st.tuples(strings, integers), max_size=2).map(tuple),
)


@settings(deadline=None)
@given(configs)
@example(Config("a\nb", Plain(), folder=Path("\x85"), layers="\u2028 \r\n\t", cache=Path("\ufeff")))
def test_yaml_comes_back_equal(config: Config) -> None:
    again = from_yaml(Config, to_yaml(config))
    assert again == config
    assert repr(again) == repr(config)  # 1 == 1.0 == True, but they are not the same setting


@settings(deadline=None)
@given(configs)
def test_the_yaml_is_plain_yaml(config: Config) -> None:
    assert from_dict(Config, to_dict(config)) == config
    assert yaml.safe_load(yaml.safe_dump(to_dict(config))) == to_dict(config)


def test_a_dict_is_plain_and_its_kind_comes_first() -> None:
    config = Config("x", Nested(parts=(Slotted(3),)), layers=(10, 11), folder=Path("a/b"))
    plain = to_dict(config)
    assert plain["toy"] == {
        "kind": "nested",
        "inner": {"kind": "plain"},
        "parts": [{"kind": "slotted", "size": 3}],
        "note": None,
    }
    assert list(plain["toy"]) == ["kind", "inner", "parts", "note"]
    assert plain["layers"] == [10, 11] and plain["folder"] == "a/b"
    assert plain["train"] == {"epochs": 5, "rate": 1e-3, "betas": [0.9, 0.999], "shuffle": True}
    assert list(plain) == [f.name for f in dataclasses.fields(Config)]


def test_lists_of_scalars_take_one_line() -> None:
    assert "layers: [10, 11, 12]\n" in to_yaml(Config("x", Plain(), layers=(10, 11, 12)))


def test_missing_settings_take_their_defaults() -> None:
    assert from_yaml(Config, "name: x\ntoy: {kind: plain}\ntrain: {epochs: 7}") == Config(
        "x", Plain(), train=Train(epochs=7)
    )


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "0.001", ".001", "1.0e-03"])
def test_numbers_are_read_as_people_write_them(written: str) -> None:
    assert from_yaml(Train, f"rate: {written}").rate == 0.001


def test_integers_are_numbers_and_infinity_too() -> None:
    rate = from_yaml(Train, "rate: 1").rate
    assert rate == 1 and isinstance(rate, float)
    assert from_yaml(Train, "rate: .inf").rate == math.inf


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": {"epochs": "abc"}}, "config.train.epochs must be an integer, not 'abc'"),
        ({"train": {"epochs": True}}, "config.train.epochs must be an integer, not True"),
        ({"train": {"epochs": 2.0}}, "config.train.epochs must be an integer, not 2.0"),
        ({"train": {"epochs": -1}}, "config.train: epochs must not be negative, not -1"),
        ({"train": {"rate": "1"}}, "config.train.rate must be a number, not '1'"),
        ({"train": {"rate": False}}, "config.train.rate must be a number, not False"),
        ({"train": {"shuffle": 1}}, "config.train.shuffle must be true or false, not 1"),
        ({"train": {"shuffle": "False"}}, "config.train.shuffle must be true or false, not 'False'"),
        ({"train": {"betas": [0.9]}}, "config.train.betas must be a list of 2 values, not 1 values"),
        ({"train": {"betas": [0.9, "x"]}}, "config.train.betas[1] must be a number, not 'x'"),
        ({"train": None}, "config.train must be settings by name, not null"),
        ({"name": 3}, "config.name must be a string, not 3"),
        ({"name": None}, "config.name must be a string, not null"),
        ({"limit": "a"}, "config.limit must be an integer or null, not 'a'"),
        ({"layers": 3}, "config.layers must be a string or a list, each an integer, not 3"),
        ({"layers": [1, "b"]}, "config.layers[1] must be an integer, not 'b'"),
        ({"folder": 1}, "config.folder must be a path, not 1"),
        ({"policy": True}, "config.policy must be one of 'per-sample', 'oracle', 1, not True"),
        ({"toy": "plain"}, "config.toy must be settings with a kind (nested, plain, slotted), not 'plain'"),
        ({"toy": {}}, "config.toy.kind is missing; it must be one of nested, plain, slotted"),
        ({"toy": {"kind": 1}}, "config.toy.kind must be a string, not 1"),
        ({"other": {"kind": "plain"}}, "config.other.rate is missing; it must be a number"),
        ({"pairs": [["a", 1], ["b", None]]}, "config.pairs[1][1] must be an integer, not null"),
    ],
)
def test_a_wrong_setting_is_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_dict(Config, MINIMAL | data)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "start"),
    [
        ({"train": {"epoch": 1}}, "config.train: unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"toy": {"kind": "nestd"}}, "config.toy: unknown toy 'nestd'; did you mean 'nested'"),
        ({"only": {"kind": "nested"}}, "config.only: unknown toy 'nested'"),
        ({"toy": {"kind": "plain", "size": 2}}, "config.toy: unknown setting 'size'"),
        (
            {"toy": {"kind": "plain", "inner": 2}},
            "config.toy: unknown setting 'inner' of toy 'plain'; kinds that have it: nested",
        ),
        ({"policy": "orcale"}, "config.policy: unknown value 'orcale'; did you mean 'oracle'"),
        ({"mode": "c"}, "config.mode: unknown value 'c'"),
        (
            {"other": {"kind": "plain", "rates": 1}},
            "config.other: unknown setting 'rates'; did you mean 'rate'?",
        ),
        ({3: 4}, "config: unknown setting '3'"),
    ],
)
def test_a_misspelt_name_is_answered_with_near_ones(data: dict[object, object], start: str) -> None:
    with pytest.raises(UserError) as caught:
        from_dict(Config, MINIMAL | data)
    assert str(caught.value).startswith(start)


def test_a_missing_setting_without_default_is_named() -> None:
    with pytest.raises(UserError, match="^run.yaml.name is missing; it must be a string$"):
        from_yaml(Config, "toy: {kind: plain}", "run.yaml")


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("a: 1\nb: [1,\nc: 2", 3),
        ("a: 1\n\tb: 2", 2),
        ("a: 1\nb: !!python/object:os.system {}", 2),
        ("a: 1\nb: 2\na: 3", 3),
        ("a: 1\nb: \x01", 2),
        ("a: 1\n---\nb: 1", 2),
        ("a: 1\n? [1]\n: 2", 2),
        ("a: 1\nb: !!bool foo", 2),
        ("a: 1\nb: !!timestamp x", 2),
        ("a: 1\nb: !<tag:yaml.org,2002:int> x", 2),
        ("a: &many [1, 1]\nb: [*many, *many]", 1),
        ("a: 1\nb: *none", 2),
        ("a:\n  <<: 3", 2),
        ("a: 1\nb: " + "[" * 5000, 2),
    ],
)
def test_broken_yaml_is_one_line_with_its_number(broken: str, line: int) -> None:
    with pytest.raises(UserError) as caught:
        from_yaml(Train, broken, "run.yaml")
    assert str(caught.value).startswith(f"run.yaml: line {line} is not valid YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "other", ["", "3", "- a", "rate: 2020-13-45", "rate: 0x_", "rate: " + "9" * 5000, "a" * 2**20 + "a"]
)
def test_other_yaml_is_a_user_error(other: str) -> None:
    with pytest.raises(UserError, match="^config "):
        from_yaml(Train, other)


def test_kinds_belong_to_their_family() -> None:
    assert ToySpec.kinds() == {"plain": Plain, "nested": Nested, "slotted": Slotted}
    assert OtherSpec.kinds() == {"plain": OtherPlain}
    ToySpec.kinds().clear()
    assert len(ToySpec.kinds()) == 3


def test_a_kind_defined_elsewhere_is_known_and_may_be_defined_again() -> None:
    class LocalSpec(Spec, family="local"):
        pass

    def define(default: int) -> type[LocalSpec]:
        @dataclass(frozen=True)
        class Mine(LocalSpec, kind="mine"):
            size: int = default

        return Mine

    for default in (1, 2):
        mine = define(default)
        assert from_yaml(LocalSpec, "kind: mine") == mine(default)  # type: ignore[call-arg]

    with pytest.raises(UserError, match="local: the name 'mine' is taken"):

        class Rival(LocalSpec, kind="mine"):
            pass


def test_a_subclass_needs_a_kind_of_its_own_and_a_family() -> None:
    @dataclass(frozen=True)
    class Nameless(Plain):
        pass

    with pytest.raises(TypeError, match="Nameless has no kind of its own"):
        to_dict(Nameless())
    with pytest.raises(TypeError, match="no family"):

        class Orphan(Spec, kind="orphan"):
            pass


def test_settings_that_cannot_be_written_are_a_programming_error() -> None:
    with pytest.raises(TypeError, match="the setting rate cannot hold"):
        to_yaml(Train(rate=object()))  # type: ignore[arg-type]

    @dataclass(frozen=True)
    class Odd:
        values: set[int]

    with pytest.raises(TypeError, match="config.values: settings of type .* are not supported"):
        from_dict(Odd, {"values": [1]})


def test_values_are_read_as_in_yaml_but_off_is_a_word() -> None:
    texts = {"3": 3, "1e-3": 1e-3, "true": True, "False": False, "null": None, "10-12": "10-12", "[1, a]": [1, "a"]}
    assert {text: read_value(text) for text in texts} == texts
    assert (read_value("off"), read_value("on"), read_value("No")) == ("off", "on", "No")
    with pytest.raises(UserError, match="not a value"):
        read_value("[1")
