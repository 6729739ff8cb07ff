"""A learner's folder comes from anybody: loading it runs none of its code, asks nothing, and follows none of its paths.

docs/security.md says what these tests show.
"""

import builtins
import io
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.load import load_named
from softtf.classifier import ContinualClassifier
from softtf.cli.main import main
from softtf.errors import UserError
from softtf.files.tensors import load_tensors, save_tensors
from softtf.learners import LinearHead
from support.folders import change
from support.slow import each
from support.tiny_bert import save_model

CODE = """
from pathlib import Path
Path({marker!r}).write_text("foreign code has run")
from transformers import BertConfig as Evil, BertModel as EvilModel, BertTokenizerFast as EvilTokenizer
"""
AUTO = {"AutoConfig": "evil.Evil", "AutoModel": "evil.EvilModel", "AutoTokenizer": [None, "evil.EvilTokenizer"]}


class Asked(list[Any]):
    """What was asked on the terminal."""


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "marker"


@pytest.fixture(params=["yes", "closed"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The terminal: somebody who says yes to all, or nobody."""
    asked = Asked()
    answers = io.StringIO("y\n" * 9)
    if request.param == "closed":
        answers.close()
    true_input = builtins.input
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setattr(builtins, "input", lambda *prompt: (asked.append(prompt), true_input(*prompt))[1])
    return asked


def evil_model(folder: Path, marker: Path, model_type: str) -> Path:
    save_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type, "auto_map": AUTO}))
    edit(folder / "tokenizer_config.json", auto_map=AUTO, tokenizer_class="EvilTokenizer")
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    return folder


def foreign(folder: Path, **backbone: object) -> Path:
    """A learner's folder as a stranger may make it, whose file names this backbone."""
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random"):
        model = ContinualClassifier(BackboneSpec("random:test_vit", image_size=32), LinearHead(), device="cpu")
    model.save_pretrained(folder)
    change(folder / "learner.json", backbone=json.loads((folder / "learner.json").read_text())["backbone"] | backbone)
    return folder


NAMES: dict[str, Callable[[Path], str]] = {
    "absolute": lambda folder: str(folder.resolve()),
    "relative to the working directory": lambda folder: str(folder),
    "relative to it, with a dot": lambda folder: f"./{folder}",
    "relative to the learner": lambda folder: folder.name,
    "as timm writes it": lambda folder: f"local-dir:{folder}",
    "as of the Hub": lambda folder: f"hf-hub:{folder}",
    "random": lambda folder: f"random:{folder}",
}


@each("model_type", ["bert", "evil"], ("evil",))
@pytest.mark.parametrize("name", NAMES)
def test_a_learner_that_names_a_model_with_code_never_runs_it_and_nobody_is_asked(
    name: str, model_type: str, marker: Path, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    model = evil_model(Path("learner/model"), marker, model_type)
    named = NAMES[name](model)
    foreign(Path("saved"), name=named, image_size=None)
    shutil.copytree("saved", "learner", dirs_exist_ok=True)
    for given in (None, named, model.resolve(), BackboneSpec(named), BackboneSpec(str(model))):
        with pytest.raises(UserError) as caught:
            ContinualClassifier.from_pretrained("learner", backbone=given, device="cpu")
        assert given is not None or name == "relative to the learner" or "only if you give it" in str(caught.value)
    capsys.readouterr()
    for args in ([], ["--backbone", named], ["--backbone", str(model)]):
        assert main(["predict", "learner", "a text", *args]) == 2
        assert capsys.readouterr().err.startswith("softtf: error: ")
    assert not marker.exists() and not asked


# --- Paths that stand in a file ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_file_names_by_a_path_is_used_only_if_the_user_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vit = timm.create_model("test_vit", img_size=32)
    save_for_hf(vit, Path("mine"), safe_serialization=True)
    save_tensors(Path("file.safetensors"), timm.create_model("test_vit", num_classes=0, img_size=32).state_dict())
    spec = BackboneSpec("mine", normalise="unit")
    by_file = BackboneSpec("test_vit", weights=Path("file.safetensors"), image_size=32)
    for saved, place in ((spec, "mine"), (by_file, "file.safetensors"), (BackboneSpec("random:mine"), "mine")):
        assert saved.paths == [place]
        with pytest.raises(UserError, match=rf"by a path, '{place}', .*--backbone {place}, .*backbone='{place}'"):
            load_named(saved)
        found = load_named(saved, place)
        assert found.spec == saved.located() and found.weights_hash() == load_backbone(saved).weights_hash()
        Path("else").mkdir(exist_ok=True)
        shutil.copytree(place, f"else/{place}") if Path(place).is_dir() else shutil.copy(place, "else")
        moved = load_named(saved, f"else/{place}")
        assert moved.weights_hash() == found.weights_hash() and moved.spec != found.spec
        assert replace_places(moved.spec) == replace_places(found.spec), "the other settings are the file's"
        shutil.rmtree("else")
    both = BackboneSpec("mine", weights=Path("file.safetensors"))
    for given in ("mine", "file.safetensors"):
        with pytest.raises(UserError):
            load_named(both, None if given == "mine" else given)


def replace_places(spec: BackboneSpec | None) -> dict[str, Any]:
    assert spec is not None
    return vars(spec) | {"name": "", "weights": None}


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "vit_base_patch16_224.orig_in21k",
        "timm/test_vit",
        "hf-hub:timm/test_vit",
        "openai/clip-vit-base-patch16",
    ],
)
def test_a_name_is_none_of_these_paths_but_where_a_folder_has_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert BackboneSpec(name).paths == BackboneSpec(f"random:{name}").paths == []
    assert BackboneSpec("vit_tiny_patch8_64").paths == BackboneSpec("minilm-l6-v2").paths == []
    Path(name.removeprefix("hf-hub:")).mkdir(parents=True)
    assert BackboneSpec(name).paths == [name.removeprefix("hf-hub:")]


@pytest.mark.parametrize(
    "name", ["/etc", "../up", "a/b/c", "~/x", "..", "C:\\x", "\\\\host\\share", "//host/x", "a\nb", ""]
)
def test_what_is_no_name_is_a_path(name: str) -> None:
    assert BackboneSpec(name).paths == [name]
    with pytest.raises(UserError):
        load_named(BackboneSpec(name))


# --- What else a model's folder could do, even if the user gives it ----------------------------------------------


def text_spec(folder: Path) -> BackboneSpec:
    return BackboneSpec(str(folder), max_tokens=24)


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class Evil:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


PICKLES = ("pytorch_model.bin", "model.pth", "training_args.bin", "adapter_model.bin")


@pytest.mark.parametrize("family", ["bert", "timm"])
def test_a_pickle_is_never_read(family: str, marker: Path) -> None:
    folder = Path("model")
    if family == "bert":
        save_model(folder)
    else:
        save_for_hf(timm.create_model("test_vit"), folder, safe_serialization=True)
    spec = text_spec(folder) if family == "bert" else BackboneSpec("model")
    before = load_backbone(spec).weights_hash()
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Evil(marker)))
    assert load_backbone(spec).weights_hash() == before
    for data in (None, pickle.dumps(Evil(marker))):
        (folder / "model.safetensors").unlink()
        if data is not None:
            (folder / "model.safetensors").write_bytes(data)
        with pytest.raises(UserError, match="model.safetensors"):
            load_backbone(spec)
        (folder / "model.safetensors").touch()
    assert not marker.exists()


def test_settings_of_timm_that_would_read_a_checkpoint_are_refused(marker: Path) -> None:
    save_for_hf(timm.create_model("test_vit"), Path("model"), safe_serialization=True)
    Path("evil.pth").write_bytes(pickle.dumps(Evil(marker)))
    config = json.loads(Path("model/config.json").read_text())
    overlay = {"file": str(Path("evil.pth").resolve())}
    for args in ({"checkpoint_path": "evil.pth"}, {"pretrained": True}, {"pretrained_cfg_overlay": overlay}):
        edit(Path("model/config.json"), model_args=config.get("model_args", {}) | args)
        with pytest.raises(UserError, match=rf"model_args has '{next(iter(args))}', which is not a setting"):
            load_backbone(BackboneSpec("model"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"auto_map": AUTO}),
        ("config.json", {"attn_implementation": "someone/kernel"}),
        ("config.json", {"_attn_implementation": "someone/kernel"}),
        ("config.json", {"text_config": {"attn_implementation": "someone/kernel"}}),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}),
        ("config.json", {"transformers_weights": "../evil.bin"}),
        ("tokenizer_config.json", {"auto_map": AUTO}),
    ],
)
def test_settings_that_would_run_other_code_are_refused(file: str, settings: dict[str, Any], tmp_path: Path) -> None:
    edit(save_model(tmp_path / "model") / file, **settings)
    with pytest.raises(UserError, match=f"{file} asks for other code or files"):
        load_backbone(BackboneSpec(str(tmp_path / "model")))


def test_of_a_kind_that_is_not_here_nothing_more_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_model(tmp_path / "model")
    for kind in ("gpt2", "evil", 3, None, ["bert"]):
        edit(folder / "config.json", model_type=kind)
        (folder / "model.safetensors").unlink(missing_ok=True)  # it would be missed if it were looked for
        with pytest.raises(UserError, match="is a .* model; softtf knows bert"):
            load_backbone(text_spec(folder))
    edit(folder / "config.json", model_type="bert")
    edit(folder / "tokenizer_config.json", tokenizer_class="TransfoXLTokenizer")
    save_model(tmp_path / "again")
    shutil.copy(tmp_path / "again/model.safetensors", folder)
    with pytest.raises(UserError, match="its tokenizer is a 'TransfoXLTokenizer'"):
        load_backbone(text_spec(folder))


@pytest.mark.parametrize("kind", ["BertJapaneseTokenizer", "MyT5Tokenizer", "LlamaTokenizer", "Nothing", 3, ["x"]])
def test_a_tokenizer_that_the_models_own_config_names_is_one_of_the_list(kind: object, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    edit(folder / "tokenizer_config.json", tokenizer_class=None)
    edit(folder / "config.json", tokenizer_class="BertTokenizerFast")
    load_backbone(text_spec(folder))
    edit(folder / "config.json", tokenizer_class=kind)
    with pytest.raises(UserError, match="its tokenizer is a|could not be loaded"):
        load_backbone(text_spec(folder))


def test_an_adapter_in_the_folder_leads_to_no_other_model(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    before = load_backbone(text_spec(folder)).weights_hash()
    other = save_model(tmp_path / "other", "electra")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(other)}))
    assert load_backbone(text_spec(folder)).weights_hash() == before


def test_weights_in_several_files_are_those_that_lie_beside_the_index(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    before = load_backbone(text_spec(folder)).weights_hash()
    tensors = load_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        save_tensors(folder / file, {name: tensors[name] for name in own})
    index = {name: file for file, own in parts.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert load_backbone(text_spec(folder)).weights_hash() == before
    for name in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "a.bin", "..", 3):
        wrong = index | {names[0]: name}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(UserError, match="not a safetensors file in its folder|no weight_map"):
            load_backbone(text_spec(folder))


DEEP = '{"a":' * 100_000
BROKEN = [
    "",
    "{",
    "[]",
    "3",
    DEEP,
    "[" * 100_000,
    '{"model_type": NaN}',
    '{"a": 1, "a": 2}',
    '{"x": 1e999}',
    "\0",
    "\ud800",
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: repr(text[:20]))
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "1_Pooling/config.json"])
def test_configs_that_are_none_are_refused_in_one_line(file: str, broken: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(broken.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=f"{file} cannot be read") as caught:
        load_backbone(text_spec(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
