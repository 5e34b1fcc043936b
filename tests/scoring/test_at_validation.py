"""The metrics of predictions during training: those of the task, over the pairs of the task."""

import pytest

from codefit.evaluation import task_metrics
from codefit.scoring import at_validation
from codefit.tasks.task import TASKS
from codefit.training import callbacks, flag_checks


@pytest.mark.parametrize("task", TASKS)
def test_they_are_metrics_of_the_benchmark(task):
    names = {metric.name for metric in at_validation.metrics([task])}
    of_code = {metric.name for metric in at_validation.OF_CODE}  # the same for all tasks of code
    assert names <= of_code | {metric.name for metric in task_metrics.metrics(task)}
    assert names <= {*flag_checks.PREDICTED}
    assert {f"eval_{name}" for name in names} <= {*callbacks.LOG_LABELS}


def test_each_metric_is_over_the_tasks_that_it_fits():
    tasks = ["naming", "summary", "completion", "document"]
    predictions = ["get_file", "read the file", "x = 1", "anything"]
    references = ["getFile", "read the file", "x = 2", "other"]
    found = at_validation.scores(tasks, predictions, references)
    assert found["naming_f1"] == found["chrf"] == found["rouge_l"] == 100
    assert found["exact_match"] == pytest.approx(100 / 3)
    assert found["edit_similarity"] == pytest.approx(80)
    assert at_validation.scores(["document"], ["a"], ["b"]) == {}
