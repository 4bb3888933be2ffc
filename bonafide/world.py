"""The processes that train one model together, and the sum of what each has computed."""

from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class World:
    """One process among its peers; ConnectionError where one of them is gone."""

    rank: int = 0
    size: int = 1
    exact: bool = True

    def sum(self, mine: torch.Tensor) -> torch.Tensor:
        """Add up every process's tensor in place, with the same result in each.

        Exact: recursive doubling over a power of two of processes. Partners exchange the sums of neighbouring halves
        of the tree of shards and both add them, which is the order in which one process adds the same shards.
        """
        try:
            if self.size > 1 and not self.exact:
                distributed.all_reduce(mine)
            distance = 1
            while self.exact and distance < self.size:
                mine.add_(self._exchange(mine, self.rank ^ distance))
                distance *= 2
        except RuntimeError as error:
            raise ConnectionError(f"a process of the group is gone ({str(error).splitlines()[0][:80]})") from None
        return mine

    def _exchange(self, mine: torch.Tensor, partner: int) -> torch.Tensor:
        theirs = torch.empty_like(mine)
        ways = [(distributed.isend, mine), (distributed.irecv, theirs)]
        for request in distributed.batch_isend_irecv([distributed.P2POp(way, part, partner) for way, part in ways]):
            request.wait()
        return theirs

    def agree(self, value: int) -> int:
        """What rank 0 says."""
        said = torch.tensor([value])
        if self.size > 1:
            try:
                distributed.broadcast(said, src=0)
            except RuntimeError as error:
                raise ConnectionError(f"a process of the group is gone ({str(error).splitlines()[0][:80]})") from None
        return int(said)
