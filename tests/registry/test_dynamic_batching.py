"""Requests answered together: each gets its own answer, or its own error, whatever company it had."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bonafide.registry.serving.dynamic_batching import LIMIT, Batcher


def lengths(texts):
    """An answer that names its text: its length and its first character."""
    if "poison" in texts:
        raise ValueError("poison")
    return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float64)


class Slow:
    """`lengths` that begins when told, so that others gather."""

    def __init__(self):
        self.begun, self.begin, self.calls = threading.Event(), threading.Event(), []

    def __call__(self, texts):
        self.begun.set()
        self.begin.wait(10)
        self.calls.append(len(texts))
        return lengths(texts)


def build(answer):
    return Batcher(answer, ThreadPoolExecutor(1))


def gather(together, requests):
    """Send the requests from a thread each, the others while the first is at work, which ends when all wait."""
    with ThreadPoolExecutor(len(requests)) as pool:
        sent = [pool.submit(together, requests[0])]
        assert together.answer.begun.wait(10)
        sent += [pool.submit(together, texts) for texts in requests[1:]]
        limit = time.monotonic() + 10
        while len(together.waiting) < len(requests) - 1:
            assert time.monotonic() < limit
            time.sleep(0.001)
        together.answer.begin.set()
        return [request.exception() or request.result() for request in sent]


def test_each_gets_its_own_and_those_that_waited_share_a_pass():
    slow = Slow()
    requests = [[f"{number}" * (number + 1)] * (number % 3 + 1) for number in range(8)]
    answers = gather(build(slow), requests)
    assert all((answer == lengths(texts)).all() for answer, texts in zip(answers, requests, strict=True))
    assert len(slow.calls) == 2
    assert sum(slow.calls) == sum(map(len, requests))


def test_one_that_fails_fails_alone():
    requests = [["a"], ["b", "bb"], ["poison"], ["c"]]
    answers = gather(build(Slow()), requests)
    assert isinstance(answers[2], ValueError)
    assert all((answers[at] == lengths(requests[at])).all() for at in (0, 1, 3))


def test_a_pass_has_no_more_texts_than_its_limit_unless_one_request_has():
    slow = Slow()
    requests = [["a"], ["b"] * LIMIT, ["c"] * (LIMIT + 1), ["d"], ["e"]]
    answers = gather(build(slow), requests)
    assert [len(answer) for answer in answers] == [1, LIMIT, LIMIT + 1, 1, 1]
    assert max(slow.calls) == LIMIT + 1
    assert all(count <= LIMIT for count in slow.calls if count != LIMIT + 1)


def test_it_goes_on_after_an_error():
    together = build(lengths)
    with pytest.raises(ValueError, match="poison"):
        together(["poison"])
    assert together(["ab"]).tolist() == [[2, ord("a")]]


def test_every_pass_is_in_one_thread():
    threads = []

    def answer(texts):
        threads.append(threading.get_ident())
        return lengths(texts)

    together = build(answer)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(together, [["a"]] * 50))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads
