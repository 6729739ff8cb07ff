"""Public functions refuse an argument of the wrong type in one line, before they do anything."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from inspect import getattr_static, isclass, isfunction, signature
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest
import torch

import softtf.public
import softtf.streams.public
from softtf import figures, streams
from softtf.backbones import Backbone
from softtf.config.arguments import check_argument, checked
from softtf.config.tree import Settings
from softtf.errors import UserError
from softtf.figures.numbers import Numbers
from softtf.report.page import write_page


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"folder"


NO_FLAGS = ("no", "", b"", None, 0, 1, [], np.array([1, 2]))
NO_PATHS = (b"folder", 7, "a\0b", BytesPath(), "\ud800", [7])
OTHERS: dict[str, Any] = {
    "backbone": "x",
    "data": [],
    "folder": "x",
    "found": Numbers([], ""),
    "inputs": [],
    "labels": [],
    "merged": False,
    "name": "x",
    "names": [],
    "output": "x",
    "paths": [],
    "source": "x",
    "task": 0,
    "tasks": [],
    "tests": [],
    "train": None,
}


def public() -> dict[str, Callable[..., Any]]:
    """The functions and methods that users call; settings check their fields themselves."""
    things = {name: getattr(package, name) for package in (softtf.public, streams.public) for name in package.__all__}
    things |= {"numbers_of": figures.numbers_of, "save": figures.save, "write_page": write_page}
    found = {name: thing for name, thing in things.items() if isfunction(thing)}
    for name, kind in things.items():
        if isclass(kind) and not issubclass(kind, (Settings, Backbone, streams.Loader)):
            methods = {method: getattr_static(kind, method) for method in dir(kind) if not method.startswith("_")}
            methods["__init__"] = kind.__init__
            functions = {method: getattr(value, "__func__", value) for method, value in methods.items()}
            found |= {f"{name}.{method}": value for method, value in functions.items() if isfunction(value)}
    return found


def wanting(kind: type[Any]) -> list[tuple[str, str]]:
    """The public functions with an argument of this type, and its name."""
    hints = {name: get_type_hints(function) for name, function in public().items()}
    found = [(name, key) for name, own in hints.items() for key, hint in own.items() if kind in _parts(hint)]
    return [(name, argument) for name, argument in found if argument != "return"]


def _parts(hint: Any) -> set[Any]:
    return {hint}.union(*map(_parts, get_args(hint))) if isinstance(hint, Hashable) else set()


def refused(name: str, argument: str, value: Any) -> str:
    """The message with which a public function refuses a value."""
    function = public()[name]
    form = signature(function)
    given = {key: OTHERS[key] for key, p in form.parameters.items() if p.default is p.empty and key in OTHERS}
    given |= {key: None for key in ("self", "cls") if key in form.parameters}
    with pytest.raises(UserError, match=rf"^{argument}\b") as caught:
        function(**given | {argument: value})
    return str(caught.value)


FLAGS, PATHS = wanting(bool), wanting(Path)


def test_the_public_flags_and_paths_are_found() -> None:
    assert {"ContinualClassifier.save_pretrained", "write_page"} <= {name for name, _ in FLAGS}
    assert {"ContinualClassifier.from_pretrained", "load_source", "write_page"} <= {name for name, _ in PATHS}


@pytest.mark.parametrize(("name", "argument"), FLAGS)
def test_a_flag_is_true_or_false(name: str, argument: str) -> None:
    may_be_none = type(None) in _parts(get_type_hints(public()[name])[argument])
    for value in NO_FLAGS:
        if value is not None or not may_be_none:
            assert "must be true or false" in refused(name, argument, value)


@pytest.mark.parametrize(("name", "argument"), PATHS)
def test_a_path_is_text_or_a_path(name: str, argument: str) -> None:
    for value in NO_PATHS:
        message = refused(name, argument, value)
        assert "\n" not in message and len(message) < 300


def test_no_message_shows_a_secret() -> None:
    assert "secret" not in refused("ContinualClassifier.push_to_hub", "token", b"secret")


def example(
    flag: bool = True,
    count: int = 1,
    word: Literal["a", "b"] = "a",
    names: Sequence[str] = (),
    labels: Sequence[Hashable] | None = None,
    pairs: Mapping[str, tuple[int, int | None]] | None = None,
    each: Iterable[int] = (),
    place: str | Path | None = None,
    say: Callable[[str], object] = print,
    tensor: torch.Tensor | None = None,
    data: Any = None,
) -> dict[str, Any]:
    return locals()


GOOD = {
    "flag": [False, np.True_],
    "count": [3, np.int64(3)],
    "word": ["b"],
    "names": [["x"], ("x", "y"), np.array(["x"])],
    "labels": [None, [1, "x"], np.arange(3), {1, 2}],
    "pairs": [None, {}, {"a": (1, None)}, {"a": [1, 2]}],
    "each": [[1], iter([1, 2]), range(3)],
    "place": [None, "x", Path("x")],
    "say": [len],
    "tensor": [torch.zeros(2)],
    "data": [object(), None, b""],
}
WRONG = {
    "flag": (NO_FLAGS, "flag must be true or false, not "),
    "count": (("3", 1.0, True, None), "count must be an integer, not "),
    "word": (("c", 3), "word"),
    "names": (("x", b"x", 7, None), "names must be a list, not "),
    "labels": (("x", 7), "labels must be a list, not "),
    "pairs": (([], "x"), "pairs must be a dict, not "),
    "each": ((3, None), "each must be a list, not "),
    "say": (("x", None), "say must be a function, not "),
    "tensor": (([1.0], 3), "tensor must be a Tensor, not "),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_what_fits_is_passed_on(name: str, value: Any) -> None:
    given = checked(example)(**{name: value})[name]
    assert given is value or given == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (all_, _) in WRONG.items() for value in all_])
def test_what_does_not_fit_is_named(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        checked(example)(**{name: value})
    assert str(caught.value).startswith(WRONG[name][1])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("names", ["x", 7], r"names\[1\] must be a string, not 7"),
        ("names", "x", r"write names=\['x'\]"),
        ("pairs", {"a": (1, "x")}, r"pairs\['a'\]\[1\] must be an integer"),
        ("pairs", {"a": (1, 2, 3)}, r"pairs\['a'\] must be a pair"),
        ("each", [1, 2.5], r"each\[1\] must be an integer"),
        ("each", "12", r"each\[0\] must be an integer"),
    ],
)
def test_a_part_is_named_by_its_place(name: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        checked(example)(**{name: value})


def test_an_iterator_is_not_read_and_defaults_are_not_checked() -> None:
    assert list(check_argument(Iterable[int], iter([1, 2]), "each")) == [1, 2]
    assert checked(example)()["names"] == ()
