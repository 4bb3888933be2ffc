"""The processes that train one model together, and the sum of what each has computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

LOST = ("gloo", "NCCL", "c10d")  # what torch's messages of a lost process come from


@contextmanager
def lost_peer_errors() -> Iterator[None]:
    """Collectives go in here, among other work or not: ConnectionError where they fail since a process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not any(name in str(error) for name in LOST):
            raise
        raise ConnectionError(f"a process of the group is gone ({str(error).splitlines()[0][:80]})") from None


@dataclass(frozen=True)
class ProcessGroup:
    """One process among its peers; ConnectionError where one of them is gone."""

    rank: int = 0
    size: int = 1
    exact: bool = True

    def all_reduce(self, mine: torch.Tensor) -> torch.Tensor:
        """Add up every process's tensor in place, with the same result in each.

        Exact: recursive doubling over a power of two of processes. Partners exchange the sums of neighbouring halves
        of the tree of shards and both add them, which is the order in which one process adds the same shards.
        """
        with lost_peer_errors():
            if self.size > 1 and not self.exact:
                distributed.all_reduce(mine)
            distance = 1
            while self.exact and distance < self.size:
                mine.add_(self._exchange(mine, self.rank ^ distance))
                distance *= 2
        return mine

    def _exchange(self, mine: torch.Tensor, partner: int) -> torch.Tensor:
        theirs = torch.empty_like(mine)
        ways = [(distributed.isend, mine), (distributed.irecv, theirs)]
        for request in distributed.batch_isend_irecv([distributed.P2POp(way, part, partner) for way, part in ways]):
            request.wait()
        return theirs

    def broadcast(self, value: int) -> int:
        """Rank 0's value."""
        tensor = torch.tensor([value])
        if self.size > 1:
            with lost_peer_errors():
                distributed.broadcast(tensor, src=0)
        return int(tensor)

    def all_min(self, value: int) -> int:
        """The smallest of all processes' values, 64 bits; none goes on before all have given theirs."""
        tensor = torch.tensor([value])
        if self.size > 1:
            with lost_peer_errors():
                distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
        return int(tensor)
