"""A group of processes, each played by a thread, which exchange what real ones would."""

import queue
import threading

import torch

from bonafide.engine.process_group import ProcessGroup


class Turns(ProcessGroup):
    """A process played by a thread; one runs at a time, and hands over where a real one would wait."""

    turn = threading.Lock()

    def of(self, boxes):
        object.__setattr__(self, "boxes", boxes)
        return self

    def _exchange(self, mine, partner):
        self.boxes[partner, self.rank].put(mine.clone())
        Turns.turn.release()
        theirs = self.boxes[self.rank, partner].get(timeout=30)
        Turns.turn.acquire()
        return theirs


def in_threads(size, work):
    boxes = {(to, by): queue.Queue() for to in range(size) for by in range(size)}
    found = [None] * size

    def process(rank):
        torch.set_num_threads(1)  # of this thread
        with Turns.turn:
            found[rank] = work(Turns(rank, size).of(boxes))

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
