"""What several packages name, a backbone or the paper's batch, stands in one module."""

import ast
from pathlib import Path

import softtf
from softtf.config import names

SOURCES = [path for path in Path(softtf.__file__).parent.rglob("*.py") if path != Path(names.__file__)]


def test_no_other_module_gives_these_names_a_value_of_its_own() -> None:
    shared = {name for name in vars(names) if name.isupper()}
    assert {"BUNDLED", "MINILM", "PAPER_BATCH"} <= shared
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                targets = {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
                assert not targets & shared, f"{path}, line {node.lineno}"
            assert not (isinstance(node, ast.Constant) and node.value in BACKBONES), f"{path}, line {node.lineno}"


BACKBONES = (names.BUNDLED, names.MINILM, names.VIT_B, names.BERT, names.CLIP_VIT_B)
