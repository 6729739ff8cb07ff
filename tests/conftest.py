"""For every test: one thread (small matrices gain nothing from more), no state left in the global generator, no file
left in the user's cache; the same date; nothing waits for the disk; and hypothesis looks at no clock."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import RLock

import pytest
import torch
from hypothesis import settings

from softtf.classifier import ContinualClassifier
from softtf.devices import torch_state
from softtf.saving.learner import save_task
from support.counting import Notes
from support.folders import SOFT_TF
from support.tiny import SMALL_PROJECTION, TRAIN, task_data, tiny_backbone

SLOW = {
    "benchmarking",
    "cli",
    "export",
    "figures",
    "paper",
    "report",
    "runs",
    "serve",
    "testing",
    "test_failed_tasks.py",
    "test_threads.py",
}
"""Folders and files of tests that run commands, whole runs or services, or stop a task at every line."""
DAMAGE = {
    *("test_feature_store.py", "test_folder_names.py", "test_foreign_learner.py", "test_held_out.py"),
    *("test_hostile_images.py", "test_hub.py", "test_kept_masks.py", "test_manifest.py", "test_parquet_bounds.py"),
    *("test_reload.py", "test_versions.py", "test_zipped.py"),
}
"""Files of tests that save learners again and again, or damage what they read."""
LIFE = {"test_descent_laws.py", "test_extend_law.py", "test_life_laws.py", "test_small_task_law.py"}
"""Files of laws about tasks that are taken out, extended or merged."""
RIVALS = {
    *("test_binary_mask.py", "test_coda_prompt.py", "test_contrasted.py", "test_der.py", "test_derpp.py"),
    *("test_ease.py", "test_ewc.py", "test_fine_tuning.py", "test_fly_cl.py", "test_hide_prompt.py", "test_idbr.py"),
    *("test_klda.py", "test_layup.py", "test_lwf.py", "test_mbpa.py", "test_mos.py", "test_progressive_prompts.py"),
    *("test_projected.py", "test_ranpac_fsa.py", "test_rehearsing.py", "test_slca.py", "test_slm.py"),
    *("test_spans.py", "test_tuna.py"),
}
"""Files of tests of single rival methods."""
BESIDE = {
    *("test_fixed_step.py", "test_gradient_offset.py", "test_kept.py", "test_one_sum.py", "test_recorded.py"),
    "test_unknown.py",
}
"""Files of tests of what is not on unless a user asks for it, and of what saves time and changes nothing."""
LONGEST = ("test_net.py", "test_tutorials.py")
"""Files of tests of up to minutes: they start first, so that no processor waits for the last of them."""

torch.set_num_threads(1)
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what need not run after each edit, and put the longest tests first."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in SLOW or item.path.name in DAMAGE | LIFE | RIVALS | BESIDE:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="session")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # no test cuts the power; those of its calls set another
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SOFTTF_CACHE", str(folder / "features"))
        patch.setenv("SOFTTF_CACHE_KEY", str(folder / "key"))
        patch.setattr("softtf.learners.spec.PROJECTION", SMALL_PROJECTION)  # the usual one takes a second a task
        patch.setenv("SOURCE_DATE_EPOCH", "1764151200")  # so that runs of the same settings write the same bytes
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.default_generator.manual_seed(0)  # that of the CPU alone: `torch.manual_seed` also writes down who called it


@pytest.fixture
def fresh_locks() -> Iterator[None]:
    """For tests that raise at any line: where a `with` ends a tracer can raise before the lock is released.

    A signal cannot. The main thread would keep the lock, and every other thread of later tests would wait for ever.
    """
    yield
    torch_state._process._lock, torch_state._process.building = RLock(), RLock()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def saved(_saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learner of three tasks, saved after each."""
    return shutil.copytree(_saved, tmp_path_factory.mktemp("saved") / "learner")


@pytest.fixture(scope="session")
def _saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = ContinualClassifier(tiny_backbone(), SOFT_TF, TRAIN, device="cpu", seed=3)
    model.header.write(folder)
    for task in range(3):
        model.learn(task_data(task), progress=False)
        save_task(folder, model.learner, model.classes, task)
    return folder
