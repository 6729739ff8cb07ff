"""What the words of a page mean, for readers who have only the page (docs/glossary.md has more)."""

from softtf.report.blocks import Fold, Grid, Section

WORDS = {
    "task": "a set of classes that is learned together; the stream is the tasks in their order",
    "ACC": "the mean over all tasks of the accuracy after the last one",
    "Forget": "how far a task's accuracy fell from its best to its last; the mean over all tasks but the last",
    "Average incremental": "the mean over time of the mean accuracy on the tasks seen by then",
    "BWT": "what a task's accuracy gained since it was learned; the mean over all tasks but the last",
    "Learning accuracy": "the mean of the accuracies on each task right after it was learned",
    "Pooled": "the accuracy over all test samples together",
    "Task right": "the share of test samples whose task is inferred correctly; where no task is inferred, that of the"
    " class that is answered",
    "policy": "how the task is inferred, which samples pool their evidence, and which classes may be answered",
    "per-sample": "each test sample is answered alone, as in production",
    "same-task batch(24)": "24 consecutive test samples of one task, known to be of one, share one inferred task",
    "3-shot": "only the first 3 samples of such a batch are evidence; the inferred task is that of all 24",
    "own classes": "the answer is a class of the inferred task; otherwise any class seen, by that task's network",
    "oracle": "the task is given: the ceiling for the same method, whatever infers the task",
    "Prompt ID, Gradient ID": "the task whose key is nearest to the sample's frozen feature; the task whose share in"
    " the mixture of all tasks' networks would lower the entropy of the answer fastest",
    "from nothing": "seconds that the work takes with empty caches; also where this run found some of it done",
    "Params/task": "parameters that are trained, or solved for, in the last task",
    "Loss over": "the classes that the cross-entropy compares: seen, all so far; own, the task's; a dash, none",
}


def words_section() -> Section:
    """Return the section, folded."""
    rows = [[word, meaning] for word, meaning in WORDS.items()]
    table = Grid("Words of this page, under any policy", ["Word", "Meaning"], rows, 2)
    return Section("words", "Words", [Fold("What the words mean", [table])])
