"""Requests answered together: each gets its own answer, or its own error, whatever company it had."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lab.together import LIMIT, Together


def lengths(texts):
    """An answer that names its text: its length and its first character."""
    if "poison" in texts:
        raise ValueError("poison")
    return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float64)


class Slow:
    """`lengths` that begins when told, so that others gather."""

    def __init__(self):
        self.begin, self.calls = threading.Event(), []

    def __call__(self, texts):
        self.begin.wait(10)
        self.calls.append(len(texts))
        return lengths(texts)


def gather(together, requests):
    """Send the requests from a thread each, and let them begin when all wait."""
    with ThreadPoolExecutor(len(requests)) as pool:
        sent = [pool.submit(together, texts) for texts in requests]
        limit = time.monotonic() + 10
        while len(together.waiting) < len(requests) - 1:  # the first has been taken
            assert time.monotonic() < limit
            time.sleep(0.001)
        together.answer.begin.set()
        return [request.exception() or request.result() for request in sent]


def test_each_gets_its_own_and_those_that_waited_share_a_pass():
    slow = Slow()
    requests = [[f"{number}" * (number + 1)] * (number % 3 + 1) for number in range(8)]
    answers = gather(Together(slow), requests)
    assert all((answer == lengths(texts)).all() for answer, texts in zip(answers, requests, strict=True))
    assert len(slow.calls) == 2
    assert sum(slow.calls) == sum(map(len, requests))


def test_one_that_fails_fails_alone():
    requests = [["a"], ["b", "bb"], ["poison"], ["c"]]
    answers = gather(Together(Slow()), requests)
    assert isinstance(answers[2], ValueError)
    assert all((answers[at] == lengths(requests[at])).all() for at in (0, 1, 3))


def test_a_pass_has_no_more_texts_than_its_limit_unless_one_request_has():
    slow = Slow()
    requests = [["a"], ["b"] * LIMIT, ["c"] * (LIMIT + 1), ["d"], ["e"]]
    answers = gather(Together(slow), requests)
    assert [len(answer) for answer in answers] == [1, LIMIT, LIMIT + 1, 1, 1]
    assert max(slow.calls) == LIMIT + 1
    assert all(count <= LIMIT for count in slow.calls if count != LIMIT + 1)


def test_it_goes_on_after_an_error():
    together = Together(lengths)
    with pytest.raises(ValueError, match="poison"):
        together(["poison"])
    assert together(["ab"]).tolist() == [[2, ord("a")]]
