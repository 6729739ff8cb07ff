import numpy as np

from softtf.tracking.matrix import MOST_NUMBERED, picture_of


def test_the_picture_shows_what_the_matrix_holds() -> None:
    matrix = np.array([[100.0, 0.0], [np.nan, 100.0]])
    pictures = [np.asarray(picture_of(a, "oracle")) for a in (matrix, matrix, 100 - matrix)]
    assert pictures[0].shape == (420, 500, 3)
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()


def test_many_tasks_have_a_picture_too() -> None:
    assert picture_of(np.full((MOST_NUMBERED + 30,) * 2, 50.0), "oracle").size == (500, 420)
