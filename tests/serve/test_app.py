"""Requests and their answers: the same as the classifier's own, whoever else asks, in whatever form."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from softtf.classifier import ContinualClassifier
from softtf.files.label_json import encode_label
from softtf.learners import BlockRidge, LinearHead
from support.folders import load
from support.serving import Served, form, serving
from support.tiny import classifier
from support.tiny_bert import text_task, tiny_bert


def expected(model: ContinualClassifier, files: list[bytes]) -> list[tuple[object, float, int]]:
    return [(encode_label(label), p, task + 1) for label, p, task in model.named(model.answer(files))]


def same(found: list[dict[str, object]], wanted: list[tuple[object, float, int]]) -> None:
    assert [(a["label"], a["task"]) for a in found] == [(label, task) for label, _, task in wanted]
    assert [a["confidence"] for a in found] == pytest.approx([p for _, p, _ in wanted], abs=1e-5)


def test_json_and_forms_get_the_classifiers_answers(served: Served, folder: Path, files: list[bytes]) -> None:
    wanted = expected(load(folder), files)
    assert len({task for _, _, task in wanted}) > 1, "the samples are of one task"
    same(served.answers(files), wanted)
    status, found = served.ask("/predict", *form(files))
    assert status == 200 and found["version"] == served.service.version.name
    same(found["answers"], wanted)


def test_answers_do_not_depend_on_who_asks_meanwhile(served: Served, folder: Path, files: list[bytes]) -> None:
    wanted = expected(load(folder), files)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: served.answers([files[i % len(files)]])[0], range(36)))
    same(found, [wanted[i % len(files)] for i in range(36)])


def test_as_many_labels_as_asked_for(served: Served, model: ContinualClassifier, files: list[bytes]) -> None:
    for top, count in ((1, 1), (4, 4), (100, len(model.labels))):
        (answer,) = served.answers(files[:1], f"?top={top}")
        likeliest = answer["probabilities"]
        assert len(likeliest) == count
        assert likeliest[0] == {"label": answer["label"], "probability": answer["confidence"]}
        assert [one["probability"] for one in likeliest] == sorted((o["probability"] for o in likeliest), reverse=True)
    assert sum(one["probability"] for one in likeliest) == pytest.approx(1)


def test_a_task_that_is_given_is_asked(served: Served, folder: Path, files: list[bytes]) -> None:
    model = load(folder)
    for task in range(3):
        found = served.answers(files[:3], f"?task={task + 1}")
        wanted = model.named(model.answer(files[:3], task=task))
        same(found, [(encode_label(label), p, t + 1) for label, p, t in wanted])
        assert {a["task"] for a in found} == {task + 1}


@pytest.mark.slow
def test_a_learner_that_can_tell_says_how_unknown_an_input_looks(files: list[bytes], tmp_path: Path) -> None:
    found = {}
    for name, spec in {"ridge": BlockRidge(60), "head": LinearHead()}.items():
        classifier(spec, 2).save_pretrained(tmp_path / name)
        with serving(tmp_path / name, load) as service:
            found[name] = [answer["unknown"] for answer in service.answers(files)]
    assert {*found["head"]} == {None}, "this one keeps no sums that tell"
    assert found["ridge"] == pytest.approx(load(tmp_path / "ridge").predict_unknown(files).tolist(), abs=1e-6)
    assert len(set(found["ridge"])) > 1


@pytest.mark.slow
def test_texts_in_any_script(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_bert(), BlockRidge(60), device="cpu")
    for task in range(2):
        model.learn(text_task(task), progress=False)
    model.save_pretrained(tmp_path / "texts")
    texts = ["", "a word", "größer", "数学の本", "\N{DOG FACE}\x00", "x" * 2000]
    wanted = expected(model, texts)  # type: ignore[arg-type]
    with serving(tmp_path / "texts", lambda folder: load(folder, backbone=tiny_bert())) as served:
        for body in (json.dumps({"texts": texts}), json.dumps({"texts": texts}, ensure_ascii=False)):
            status, found = served.ask("/predict", body.encode())
            assert status == 200
            same(found["answers"], wanted)
        status, found = served.ask("/predict", b'{"texts": ["\\ud800"]}')
        assert status == 422 and "surrogate" in found["detail"]
        status, found = served.ask("/predict", {"images": [base64.b64encode(b"x").decode()]})
        assert status == 422 and "answers for texts" in found["detail"]


def test_the_page_needs_nothing_from_a_network(served: Served) -> None:
    status, page = served.ask("/docs")
    assert status == 200 and "POST /predict" in page and "multipart/form-data" in page
    assert "<script" not in page and "https://" not in page and " src=" not in page
    status, schema = served.ask("/openapi.json")
    assert schema["paths"].keys() == {"/predict", "/reload", "/health", "/ready", "/metrics"}
    assert schema["paths"]["/predict"]["post"]["requestBody"]["content"].keys() == {
        "application/json",
        "multipart/form-data",
    }


def test_prometheus_is_told_what_happened(served: Served, files: list[bytes]) -> None:
    def number(name: str) -> float:
        lines = served.ask("/metrics")[1].splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0.0)

    ok, wrong = (
        'softtf_requests_total{path="/predict",status="200"}',
        'softtf_requests_total{path="other",status="404"}',
    )
    before = number(ok), number("softtf_batch_inputs_sum"), number(wrong)
    served.answers(files[:3])
    assert served.ask("/nowhere")[0] == served.ask("/else/where")[0] == 404
    assert (number(ok), number("softtf_batch_inputs_sum"), number(wrong)) == (
        before[0] + 1,
        before[1] + 3,
        before[2] + 2,
    )
    assert number("softtf_tasks") == 3


TOKEN = "a-token-of-some-length"


def test_only_who_has_the_token_is_answered(folder: Path, files: list[bytes]) -> None:
    body = {"images": [base64.b64encode(files[0]).decode()]}
    with serving(folder, load, token=TOKEN) as served:
        for wrong in (None, TOKEN, "Bearer", "Bearer " + TOKEN[:-1], f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ä"):
            status, found = served.ask("/predict", body, token=wrong)
            assert status == 401 and "Authorization" in found["detail"]
            assert served.ask("/reload", b"", token=wrong)[0] == served.ask("/metrics", token=wrong)[0] == 401
        assert served.ask("/predict", body, token=f"Bearer {TOKEN}")[0] == 200
        assert served.ask("/health")[0] == served.ask("/ready")[0] == served.ask("/docs")[0] == 200
