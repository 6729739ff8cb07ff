# %% [markdown]
# # Texts from a table
#
# You have a CSV file with a text and a label in each row, and a column that says which task a row belongs to. This
# notebook takes half a minute on a CPU. It needs the small encoder of `pip install '.[text]'`.

# %%
import csv
from pathlib import Path
from tempfile import mkdtemp

rows = [
    ("the striker scored in the last minute", "sport", "January"),
    ("the match was called off because of rain", "sport", "January"),
    ("she won the final in three sets", "sport", "January"),
    ("the coach praised the young keeper", "sport", "January"),
    ("their second goal came from a corner", "sport", "January"),
    ("the central bank raised its rate", "money", "January"),
    ("shares fell after a weak quarter", "money", "January"),
    ("the firm borrowed to buy its rival", "money", "January"),
    ("investors sold bonds all week", "money", "January"),
    ("profits rose on higher prices", "money", "January"),
    ("the new phone has a brighter screen", "technology", "February"),
    ("an update mends a fault in the browser", "technology", "February"),
    ("the chip needs half the power", "technology", "February"),
    ("the program crashed when the disk was full", "technology", "February"),
    ("they trained the network on two computers", "technology", "February"),
    ("simmer the sauce for an hour", "cooking", "February"),
    ("fold the egg whites into the dough", "cooking", "February"),
    ("serve the soup with fresh bread", "cooking", "February"),
    ("roast the carrots with honey", "cooking", "February"),
    ("add salt to the boiling water", "cooking", "February"),
]
table = Path(mkdtemp()) / "texts.csv"
with table.open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("text", "label", "month"), *rows])

# %% [markdown]
# `load_source` finds the columns `text` and `label`, and holds out a fifth of each class for testing. `split_by_task`
# makes a task of each month, in the order of the file.

# %%
from softtf import ContinualClassifier, load_source
from softtf.streams import split_by_task

train, test = load_source(str(table), task_column="month")
stream = split_by_task(train, test)
[(task.name, task.classes) for task in stream]

# %%
model = ContinualClassifier("minilm-l6-v2")
for task in stream:
    model.learn(task.train, name=task.name, progress=False)
model.predict(["he missed the penalty", "interest on the loan", "the laptop runs hot", "stir in the cream"])

# %% [markdown]
# On the command line:
#
# ```bash
# softtf run texts.csv --stream.task-column month --output runs/texts
# softtf predict runs/texts "he missed the penalty"
# ```
