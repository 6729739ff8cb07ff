"""The learners' laws on a tiny BERT and texts of differing lengths, for one learner of each manner."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts import test_learner_laws as laws
from contracts import test_mixed_tasks_law as mixed
from contracts.cases import LEARNERS, LearnerCase
from support import tiny
from support.slow import each
from support.tiny_bert import text_task, texts, tiny_bert, token_ids

NAMES = (
    "RanPAC",
    "Soft-TF, Feature ID",
    "L2P + Soft-TF, PGP",
    "CODA-Prompt + Soft-TF",
    "HiDe-Prompt",
    "DER++",
    "DER + MCG",
    "MBPA++",
    "IDBR",
    "SLM",
    "Progressive Prompts",
)
LAWS = {name: law for name, law in vars(laws).items() if name.startswith("test_")}
LAWS |= {name: law for name, law in vars(mixed).items() if name.startswith("test_a_batch_of_")}
STAND_INS = {"inputs": token_ids, "pictures": texts, "task_data": text_task}

_learned, _trained = (cache(made.__wrapped__) for made in (tiny._learned, tiny._trained))


@pytest.fixture(autouse=True)
def _texts_in_place_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "_learned", _learned)
    monkeypatch.setattr(tiny, "_trained", _trained)
    monkeypatch.setattr(tiny, "tiny_backbone", tiny_bert)
    for module in (tiny, laws, mixed):
        for name, stand_in in STAND_INS.items():
            monkeypatch.setattr(module, name, stand_in, raising=False)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@each("case", {name: LEARNERS[name] for name in NAMES}, ("IDBR",))
def test_a_learners_law_holds_on_texts(law: Callable[..., None], case: LearnerCase, tmp_path: Path) -> None:
    known: dict[str, Any] = {"case": case, "tmp_path": tmp_path}
    law(**{name: known[name] for name in inspect.signature(law).parameters})


def test_texts_of_like_length_are_run_together_and_answers_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.classifier(LEARNERS["Soft-TF, Feature ID"].spec)
    rows = [text * times for text in texts(8) for times in (3, 1, 2)]
    kinds = ("prompt-id", "gradient-id", "feature-id")
    alone = {kind: torch.cat([model.predict_proba(row, inference=kind) for row in rows]) for kind in kinds}
    queries = torch.cat([model.features(row) for row in rows])
    ran: list[torch.Tensor] = []
    backbone, embed = model.learner.network.backbone, model.learner.network.backbone.embed
    monkeypatch.setattr(backbone, "embed", lambda ids: [ran.append(ids), embed(ids)][1])
    for kind in kinds:
        ran.clear()
        found = model.predict_proba(rows, inference=kind, batch_size=4)
        torch.testing.assert_close(found, alone[kind], rtol=0, atol=1e-5)
        widths = [ids.shape[1] for ids in ran]
        assert len(ran) == 6 and widths == sorted(widths) and len(set(widths)) > 2
    torch.testing.assert_close(model.features(rows), queries, rtol=0, atol=1e-5)
    pooled = [model.predict_proba(rows, groups=[i % 5 for i in range(24)], batch_size=size) for size in (1, 64)]
    torch.testing.assert_close(*pooled, rtol=0, atol=1e-5)
