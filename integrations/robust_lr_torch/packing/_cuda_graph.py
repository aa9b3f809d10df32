"""A step of a pack as one CUDA graph, captured once and then replayed.

Launching the kernels of a small model's step takes the CPU longer than the GPU takes to run them; a captured graph is
launched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # of rows, numbers and keys; returns the losses, shape (slots,)


class ReplayedSteps:
    """Replays one captured step, which reads its arguments from tables on the device by a counter that it advances.

    The step must not wait for the device. Capturing changes the tensors in `kept`, which are restored afterwards.
    """

    def __init__(
        self,
        step: Step,
        longest: int,
        arguments: tuple[Tensor, Tensor, Tensor],
        kept: Sequence[Tensor],
        capture: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._tables = [a.repeat(longest, *[1] * a.ndim) for a in arguments]
        _, numbers, keys = arguments
        self._losses = numbers.new_zeros(longest, keys.shape[0])
        self._counter = torch.zeros(1, dtype=torch.int64, device=keys.device)

        def next_step() -> None:
            losses = step(*(table.index_select(0, self._counter).squeeze(0) for table in self._tables))
            self._losses.index_copy_(0, self._counter, losses.to(self._losses.dtype).unsqueeze(0))
            self._counter.add_(1).remainder_(longest)

        before = [tensor.clone() for tensor in kept]
        self._replay = capture(next_step)
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)

    def run(self, rows: Tensor, numbers: Tensor, keys: Tensor) -> Tensor:
        """Make one step for each row of the arguments, in blocks of `longest`; return the losses, (steps, slots)."""
        losses, longest = [], len(self._losses)
        for block in zip(*(torch.split(argument, longest) for argument in (rows, numbers, keys)), strict=True):
            n_steps = len(block[0])
            for table, values in zip(self._tables, block, strict=True):
                table[:n_steps].copy_(values)
            self._counter.zero_()
            for _ in range(n_steps):
                self._replay()
            losses.append(self._losses[:n_steps].clone())
        return torch.cat(losses)


def capture_cuda_graph(function: Callable[[], None]) -> Callable[[], None]:
    """Return a function that replays the GPU work of `function`, which first runs a few times to warm up."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
