"""What each subcommand does; reads options, calls the library, prints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softtf.adaptations import AdaptationSpec
from softtf.backbones.load import BUNDLED, MINILM, backbone_names
from softtf.cli import flags
from softtf.cli.arguments import positionals, take, wants_help
from softtf.cli.quickstart import MARKER, POLICY_NOTE, POLICY_TITLE, compare_methods, finish, resumed
from softtf.config.tree import from_yaml, with_settings
from softtf.devices.device import Precision, environment, find_device
from softtf.errors import UserError, unknown
from softtf.evaluation.evaluate import BATCH_SIZE
from softtf.evaluation.report import Row, render, render_matrix
from softtf.files.lock import holder
from softtf.files.reading import read_text
from softtf.inference import INFERENCES, TaskInference
from softtf.learners import LearnerSpec
from softtf.learners.spans import span_of
from softtf.paper import TABLES
from softtf.recipes.methods import METHODS, title_of
from softtf.recipes.presets import OWN_TEXTS, RECIPES, Scale
from softtf.recipes.recipes import recipe_named
from softtf.recipes.texts import of_file, rows_protocol
from softtf.runs.config import EvaluateConfig, RunConfig, StreamConfig
from softtf.runs.evaluate import rescore
from softtf.runs.folder import RunFolder
from softtf.runs.run import NO_PLACES, Places, start
from softtf.saving.learner import MaskPlace
from softtf.screen import Screen, say
from softtf.streams import STREAMS
from softtf.streams.files import ENDINGS

OFFLINE = {BUNDLED: "bundled, works offline", MINILM: "texts; works offline, needs softtf[text]"}


def quickstart(args: list[str]) -> int:
    """Learn digits, or with --text docstrings, with the default method and three of the paper's; show one table."""
    output, args = take(args, "--output")
    if wants_help(args):
        say("usage: softtf quickstart [--text] [--output DIR] [--seed N]")
        say("  --text: docstrings of Python's standard library instead of digits (needs softtf[text])")
        return 0
    seed_text, args = take(args, "--seed")
    recipe = "quickstart-text" if "--text" in args else "quickstart"
    if args := [arg for arg in args if arg != "--text"]:
        raise UserError(f"quickstart does not know {args[0]!r}; it takes --text, --output and --seed")
    folder = Path(output) if output else _free(Path("runs") / recipe)
    RunFolder.check_free(folder)
    compare_methods(folder, _integer(seed_text, "--seed") if seed_text else 0, Screen(), recipe)
    return 0


def run(args: list[str]) -> int:
    """Learn a stream from a recipe or from a config.yaml."""
    config_file, args = take(args, "--config")
    output, args = take(args, "--output")
    method, args = take(args, "--method")
    scale, args = take(args, "--scale")
    said: Callable[[StreamConfig], str] | None = None
    if config_file:
        if method or scale or (args and not args[0].startswith("-")):
            raise UserError("--config names the whole run; leave out the recipe, --method and --scale")
        default, prog = _read_config(Path(config_file)), "softtf run --config FILE"
    elif not args or args[0].startswith("-"):
        if args and args[0] in ("-h", "--help"):
            say("usage: softtf run RECIPE [--method M] [--scale mini] [--output DIR] [--SETTING VALUE ...]")
            say("       softtf run FILE.csv ... learns your own texts (.csv, .tsv, .jsonl, .parquet)")
            say("       softtf run RECIPE --help lists every setting; softtf list recipes lists the recipes")
            return 0
        raise UserError(f"name a recipe, or give --config FILE; recipes: {', '.join(RECIPES)}")
    else:
        file = _file_of_texts(args)
        default = recipe_named(OWN_TEXTS if file else args[0], method, _scale(scale))
        if file:
            task, label = (take(args, f"--stream.{kind}-column")[0] for kind in ("task", "label"))
            settings, said = of_file(Path(file), None if task == "None" else task or "task", label)
            default = with_settings(default, settings)
        prog, args = f"softtf run {args[0]}", args[1:]
    extra = f"Also: --output DIR, --scale mini, --method {' | '.join(METHODS)}"
    config = flags.parse(default, args, prog, extra, ("--output", "--method", "--scale", "--config"))
    if said:
        say(said(config.stream))
    path = Path("runs") / f"{config.recipe}-{config.method}-seed{config.seed}"
    path = Path(output) if output else _free(path) if config_file else path
    console = Screen()
    rows = finish(lambda: start(config, path, console), path, path)
    _show(rows, config, path, console)
    return 0


def resume(args: list[str]) -> int:
    """Go on with a stopped run."""
    source, args = take(args, "--source")
    backbone, args = take(args, "--backbone")
    cache, args = take(args, "--feature-cache")
    usage = "softtf resume DIR [--source FOLDER] [--backbone PATH] [--feature-cache DIR]"
    (path,), rest = positionals(args, f"{usage}: where its data, its backbone and kept features are now", 1)
    if rest:
        raise UserError(
            f"resume does not know {rest[0]!r}; it takes the run's folder, --source, --backbone and --feature-cache"
        )
    places = Places(source, backbone, cache)
    console = Screen()
    if (Path(path) / MARKER).exists():
        if places != NO_PLACES:
            raise UserError("--source, --backbone and --feature-cache are of other runs; a quickstart's are built in")
        compare_methods(Path(path), None, console)
        return 0
    folder, config = RunFolder.open(Path(path))
    rows = finish(lambda: resumed(folder.path, console, places), folder.path, folder.path)
    _show(rows, config, folder.path, console)
    return 0


@dataclass(frozen=True)
class EvaluateOptions:
    """How to score a finished learner.

    Attributes:
        policy: such as prompt-id, gradient-id:batch24, gradient-id:3-shot:own, oracle (`softtf list policies`); none
            given means the usual ones per sample and the oracle.
        shuffle: shuffle the test samples across tasks.
        last: only after the last task: faster, but no Forget.
        matrix: print the accuracy matrices.
        batch_size: samples run at once; changes no per-sample answer.
        precision: auto, bfloat16 or float32, which keeps answers independent of the batch.
        masks: disk leaves them in their files and reads in those that answers use; the answers are the same.
        source: the folder or file where the run's data are now, if they were moved.
        backbone: where the backbone is, if the run names it by a path.
        feature_cache: the folder with kept features, if it is not the usual one; off keeps them in memory.
    """

    policy: tuple[str, ...] = ()
    shuffle: bool = False
    last: bool = False
    matrix: bool = False
    batch_size: int = BATCH_SIZE
    precision: Precision = "float32"
    masks: MaskPlace = "memory"
    source: str | None = None
    backbone: str | None = None
    feature_cache: str | None = None


def evaluate(args: list[str]) -> int:
    """Score a finished learner under other policies, and add what was found to its run's folder."""
    if wants_help(args):
        flags.parse(EvaluateOptions(), ["--help"], "softtf evaluate DIR", "Score a finished learner.")
    (path,), rest = positionals(args, "softtf evaluate DIR [--policy P ...]", 1)
    options = flags.parse(EvaluateOptions(), rest, "softtf evaluate DIR", "Score a finished learner.")
    settings = EvaluateConfig(options.policy, options.shuffle, options.batch_size, options.precision)
    folder, config = RunFolder.open(Path(path))
    console = Screen()
    if who := holder(folder.path):
        note = f"note: {folder.path} is in use by {who}; the tasks that are finished are scored"
        console.print(note, soft_wrap=True)
    places = Places(options.source, options.backbone, options.feature_cache)
    results = rescore(folder.path, settings, console, options.last, options.masks, places)
    about = title_of(config.method), span_of(config.learner), folder.weights
    rows = [found.row(*about) for found in results]
    console.print(render(rows, _heading(f"{config.recipe}: {folder.path}", config), POLICY_NOTE))
    if options.matrix:
        for found in results:
            if found.matrix:
                title = f"{found.title}: accuracy on task (row) after learning task (column)"
                console.print(render_matrix(found.matrix, title))
    where = environment(find_device(config.device))
    saved = [found.save(folder, where).name for found in results]
    console.print(f"saved in {folder.path / 'rescored'}: {', '.join(saved)}", soft_wrap=True)
    return 0


def show_list(args: list[str]) -> int:
    """List what can be named."""
    lists: dict[str, Callable[[], dict[str, str]]] = {
        "recipes": lambda: {name: recipe.description for name, recipe in RECIPES.items()},
        "methods": lambda: {name: method.title for name, method in METHODS.items()},
        "backbones": lambda: {n: OFFLINE.get(n, "") for n in backbone_names()},
        "adaptations": lambda: _kinds(AdaptationSpec.kinds()),
        "learners": lambda: _kinds(LearnerSpec.kinds()),
        "streams": lambda: {name: info.description for name, info in STREAMS.items()},
        "tables": lambda: {name: make().caption for name, make in TABLES.items()},
        "policies": lambda: {
            **{name: f"{kind.title}, per-sample{_asked_for(kind)}" for name, kind in INFERENCES.items()},
            "NAME:batch24": "evidence pooled over batches of 24 of one task's test set (the paper's m-batch)",
            "NAME:vote24": "each of 24 votes for its own best task, the majority answers (the paper's Prompt ID)",
            "NAME:3-shot": "the first 3 of each batch of 24 are the evidence (the paper's n-shot; 3-shot/16 for 16)",
            "NAME:...:own": "answer with a class of the inferred task; otherwise with any class seen so far",
            "NAME:...:joint": "P(c|x) = P(t|x) P(c|x,t) over the likely tasks; feature-id and mcg only",
            "oracle": "the task is given",
        },
    }
    wanted = args or list(lists)
    for name in wanted:
        if name not in lists:
            raise unknown("list", name, lists)
    for name in wanted:
        entries = lists[name]()
        if not args and name == "backbones":
            entries = {**OFFLINE, "...": f"{len(entries) - len(OFFLINE)} more: softtf list backbones"}
        say(f"{name}:")
        width = max(map(len, entries))
        for entry, text in entries.items():
            say(f"  {entry:<{width}}  {text}".rstrip())
    return 0


def _asked_for(kind: type[TaskInference]) -> str:
    """Say which setting of the learner a task inference needs, if any."""
    return "" if kind.setting is None else f"; needs {kind.option()} when the run learns"


def _kinds(kinds: dict[str, type]) -> dict[str, str]:
    return {name: (kind.__doc__ or "").strip().splitlines()[0] for name, kind in kinds.items()}


def _show(rows: list[Row], config: RunConfig, path: Path, console: Screen) -> None:
    about = f"{config.recipe} on {config.backbone.name}, seed {config.seed}"
    console.print(render(rows, _heading(about, config), POLICY_NOTE))
    console.print(f"run folder: {path}", soft_wrap=True)


def _file_of_texts(args: list[str]) -> str | None:
    """Return the user's own file of rows that is to be learned: named in place of a recipe, or as its source."""
    named = take(args, "--stream.source")[0] if args[0] == OWN_TEXTS else args[0]
    return named if named and named.lower().endswith(ENDINGS) else None


def _heading(about: str, config: RunConfig) -> str:
    parts = (about, rows_protocol(config.stream), config.stream.labels_protocol, POLICY_TITLE)
    return "; ".join(part for part in parts if part)


def _read_config(file: Path) -> RunConfig:
    try:
        return from_yaml(RunConfig, read_text(file), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _scale(text: str | None) -> Scale:
    if text not in (None, "full", "mini"):
        raise unknown("scale", text, ["full", "mini"])
    return "mini" if text == "mini" else "full"


def _integer(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{flag} must be an integer, not {text!r}") from None


def _free(path: Path) -> Path:
    """Return `path`, or with -2, -3, ... the first that does not exist."""
    number = 1
    while (candidate := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate
