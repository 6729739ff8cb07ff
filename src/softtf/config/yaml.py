"""YAML for settings: plain data, no duplicate keys, no tags or anchors; 1e-3 is a number."""

import re
from typing import Any

import yaml

from softtf.errors import UserError

LARGEST, DEEPEST = 2**20, 32
"""The most characters of a text, and the most levels of nesting; our own files have some thousands, and five."""


class _Loader(yaml.SafeLoader):
    """Refuses YAML that settings do not need and an attacker might use.

    It refuses duplicate keys, of which YAML silently keeps the last; tags, which ask for other types; anchors, with
    which a few lines stand for millions of values; and deep nesting.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        for name in ("anchor", "tag"):
            if getattr(event, name, None) is not None:
                raise yaml.MarkedYAMLError(problem=f"settings have no {name}s", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            problem = f"lists and mappings are nested more than {DEEPEST} deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes lists of scalars on one line, and quotes text whose line ends YAML would fold into spaces."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        short = not any(isinstance(part, list | dict) for part in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=short)


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(list, _Dumper.represent_list)
# YAML 1.1 reads 1e-3 as text; YAML 1.2 and people read a number. The dumper must know this to quote such text.
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


BAD_VALUES = (ValueError, OverflowError, RecursionError, AttributeError, KeyError, TypeError)
"""Errors of a SafeLoader on values that are not what they look like, such as the date 2020-13-45."""


def dump_yaml(plain: Any) -> str:
    """Write plain data as YAML text, in its own order."""
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def load_yaml(text: str, where: str) -> Any:
    """Read YAML text as plain data; messages call the source `where`.

    Raises:
        UserError: the text is not YAML (the message gives the line), has a tag or an anchor, or is too large or deep.
    """
    if len(text) > LARGEST:
        raise UserError(f"{where} has more than {LARGEST:,} characters; it is not a settings file")
    try:
        return yaml.load(text, Loader=_Loader)  # nosec B506 # a SafeLoader: plain data only
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{where}: line {line} is not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{where}: line {line} is not valid YAML: {error.reason}") from error
    except BAD_VALUES as error:
        raise UserError(f"{where} is not valid YAML: {error}") from error


def read_value(text: str) -> Any:
    """Read one value, such as `3`, `1e-3`, `false`, `[a, b]` or `10-12`, as `load_yaml` does; but `off` is a word.

    Raises:
        UserError: The text is not YAML.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # nosec B506 # a SafeLoader: plain data only
        return text if isinstance(value, bool) and text.lower() not in ("true", "false") else value
    except (yaml.YAMLError, *BAD_VALUES):
        raise UserError(f"{text!r} is not a value; write for example 3, 0.1, true, 10-12 or [a, b]") from None
