"""How they were made, by softtf 0.1 (commit 531b61a): kept to be read, and never run with a later version.

PYTHONPATH=src:tests OMP_NUM_THREADS=1 python -m saved_by_0_1.make
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from net import worlds
from net.measure import call, stopping_in_the_second_task
from softtf import ContinualClassifier, DERpp, DualPrompt, RanPAC, SoftMask, TrainConfig

HERE = Path(__file__).parent
SIZES = {"depth": 4, "embed_dim": 16}
LEARNERS = {
    "soft-tf": DualPrompt(g_layers="1", e_layers="3-4", adapt=SoftMask(layers="3-4"), feature_id=16),
    "ranpac": RanPAC(projection=16),
    "der++": DERpp(exemplars=8),
}
RATES = {"soft-tf": 3.0, "ranpac": 0.03, "der++": 0.2}
RUN = (
    *("run", "own-images", "--method", "dual-prompt+soft-tf", "--stream.num-tasks", "3", "--device", "cpu"),
    *("--learner.g-layers", "1", "--learner.e-layers", "3-4", "--learner.adapt.layers", "3-4", "--train.epochs", "2"),
    *("--train.batch-size", "6", "--train.learning-rate", "0.3", "--train.precision", "float32"),
)
BACKBONE, SOURCE = "/place/of/the/backbone", "/place/of/the/pictures"  # in the files, for paths that differ


def questions(test: Any) -> list[Path]:
    """Return some pictures of the first two tasks."""
    return [inputs[i] for inputs, _ in test[:2] for i in (0, 3, 5, 7)]


def answers(model: ContinualClassifier, test: Any) -> dict[str, Any]:
    """Return what a classifier answers."""
    asked = questions(test)
    return {
        "labels": model.predict(asked),
        "tasks": model.predict_task(asked),
        "probabilities": [[round(p, 5) for p in row] for row in model.predict_proba(asked).tolist()],
    }


def main() -> None:
    """Write the learners, the run and `expected.json`."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["SOFTTF_CACHE"] = f"{place}/features"
        vit = worlds.vit(Path(place) / "vit", **SIZES)
        source, train, test = worlds.pictures(Path(place) / "pictures", "bmp")
        expected = {}
        for name, spec in LEARNERS.items():
            training = TrainConfig(epochs=3, batch_size=6, learning_rate=RATES[name], precision="float32")
            model = ContinualClassifier(str(vit), spec, training, seed=2, device="cpu")
            for data in train[:2]:
                model.learn(data, progress=False)
            model.save_pretrained(HERE / name)
            expected[name] = answers(model, test)
        command = (*RUN, "--stream.source", source, "--backbone.name", vit)
        call(*command, "--output", f"{place}/whole")
        expected["run"] = json.loads(Path(f"{place}/whole/accuracy.json").read_text())
        with stopping_in_the_second_task(HERE / "run"):
            call(*command, "--output", HERE / "run", code=130)
        (HERE / "run/environment.json").unlink()
        for file in [*HERE.glob("*/learner.json"), HERE / "run/learner/learner.json", HERE / "run/config.yaml"]:
            file.write_text(file.read_text().replace(str(vit), BACKBONE).replace(str(source), SOURCE))
        (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
