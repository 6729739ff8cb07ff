# %% [markdown]
# # A row of the paper
#
# The paper's rows are runs with names. This notebook runs DualPrompt + Soft-TF on the quickstart's data, with the
# settings of the paper's row, and reads the run folder. The real row takes CIFAR-100 and a GPU:
#
# ```bash
# softtf table 6 --rows "DualPrompt-Soft-TF-L[10,11,12], Gradient ID" --streams cifar100-10 --source cifar100=FOLDER
# ```

# %%
import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

run = Path(mkdtemp()) / "run"
command = [sys.executable, "-m", "softtf", "run", "quickstart", "--method", "dual-prompt+soft-tf", "--output", str(run)]
command += ["--stream.num-tasks", "2", "--train.epochs", "1"]
command += ["--stream.train-per-class", "20", "--stream.test-per-class", "12"]  # few, so that it takes less time
print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

# %% [markdown]
# A run folder holds every number as JSON, with the settings, the versions and the commit. The keys of `policies` say
# under which policy an accuracy was measured. *same-task batch(24)* is the paper's: 24 test samples of one task share
# one guess of their task. *per-sample* is what you get in production.

# %%
summary = json.loads((run / "summary.json").read_text())
sorted(path.name for path in run.iterdir()), list(summary)
