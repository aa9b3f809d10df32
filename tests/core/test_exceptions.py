"""The errors: what they carry, and the name that one of them had in version 0.1."""

import pickle

import pytest

from robust_lr import exceptions


def test_the_old_spelling_of_not_vectorizable_still_works_and_warns():
    with pytest.warns(DeprecationWarning, match="NotVectorisable is now NotVectorizable"):
        assert exceptions.NotVectorisable is exceptions.NotVectorizable
    with pytest.raises(AttributeError, match="has no attribute 'NotVectorised'"):
        exceptions.NotVectorised  # noqa: B018


def test_not_vectorizable_pickles_with_its_reason_and_place():
    error = exceptions.NotVectorizable("it branches", "train.py:3")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.where, str(again)) == ("it branches", "train.py:3", "it branches (train.py:3)")
