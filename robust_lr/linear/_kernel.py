"""The arithmetic of the closed-form engine: what it trains (`LinearProblem`) and the steps of SGD on it (`Kernel`).

Eight lanes make a group: trials of one seed at one step, and so on one batch. The weights of a group are one matrix,
``W[d, (k, lane)]``, the last index running fastest, and a pack is a stack of groups, so that every call of BLAS has the
same shape whatever the pack holds, and its vectors hold the eight lanes of an output side by side. This is why a trial
ends with the same bits in every lane, in every company, and alone. (Other orders of the columns lose it.)
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

LANES = 8
_LONGEST_BLOCK = 50  # steps between two looks at the objectives
_BLOCK_BYTES = 1 << 18  # what the steps of a block leave behind, and
_PART_BYTES = 5 << 17  # what one of them works on: together they fit in an L2 cache of 1 MB

Kind = Literal["linear", "logistic", "softmax"]
Array = NDArray[Any]


class LinearProblem(Protocol):
    """What the engine trains: ``outputs = inputs @ weights + bias``, by SGD on a loss of one of three kinds.

    With n examples of d inputs and k outputs, a batch of B rows has the loss F: "linear", the mean of
    ``(outputs - targets)**2`` over B k numbers; "logistic", the mean over B k numbers of the binary cross-entropy of
    ``sigmoid(outputs)``; "softmax", the mean cross-entropy over B rows. The update is that of `torch.optim.SGD`:
    ``g = grad F + weight_decay * w`` (for the bias `bias_decay`), ``m = momentum * m + (1 - dampening) * g`` (at first
    ``m = g``), ``w -= rate * m``, or with Nesterov ``w -= rate * (g + momentum * m)``.
    """

    @property
    def kind(self) -> Kind:
        """The loss: "linear", "logistic" or "softmax"."""

    @property
    def inputs(self) -> Array:
        """The training inputs, shape (n, d), float32 or float64: the type of all that is computed."""

    @property
    def targets(self) -> Array:
        """Shape (n, k), of the type of the inputs; for "softmax" class numbers, whole, shape (n,)."""

    @property
    def total_steps(self) -> int:
        """T, the number of steps."""

    @property
    def momentum(self) -> float:
        """Of SGD, >= 0."""

    @property
    def dampening(self) -> float:
        """Of the momentum."""

    @property
    def nesterov(self) -> bool:
        """Whether the momentum is that of Nesterov."""

    @property
    def weight_decay(self) -> float:
        """What is added to the gradient, times the weights."""

    @property
    def bias_decay(self) -> float:
        """What is added to the gradient, times the bias."""

    @property
    def penalty(self) -> float:
        """The objective that is watched for divergence is ``F + penalty / 2 * |weights|**2``."""

    @property
    def divergence_factor(self) -> float:
        """See `DivergenceWatch`."""

    @property
    def divergence_patience(self) -> int:
        """See `DivergenceWatch`."""

    def initial(self, seed: int) -> tuple[Array, Array | None]:
        """Return the weights, shape (d, k), and the bias, shape (k,), or None where there is none."""

    def batches(self, seed: int) -> Array:
        """Return the rows that each step sees: whole numbers, shape (T, B)."""

    def evaluate(self, weights: Array, bias: Array | None) -> dict[str, float]:
        """Return what a trial that ended with these weights returns, with the key "loss"."""

    def diverged(self, step: int) -> dict[str, float]:
        """Return what a trial that diverged at this step returns; step T when only the final loss is not finite."""


class Kernel:
    """The steps of SGD on a part of a pack, at most `part` groups, for at most `block` steps.

    In the shapes G is the number of groups, n of steps, D = d, or d + 1 with a bias, and C = k * 8.
    """

    def __init__(self, problem: LinearProblem, inputs: Array, d: int, k: int, batch_size: int, n_groups: int) -> None:
        dtype, n_inputs = inputs.dtype, inputs.shape[1]
        group_bytes = (3 * n_inputs * k * LANES + batch_size * (n_inputs + 2 * k * LANES)) * dtype.itemsize
        self.part = min(n_groups, max(1, _PART_BYTES // group_bytes))
        loss = _LOSSES[problem.kind]
        step_bytes = self.part * loss.n_kept(k, batch_size) * dtype.itemsize
        self.block = min(_LONGEST_BLOCK, max(1, _BLOCK_BYTES // step_bytes))
        self._problem, self._inputs, self._d, self._k = problem, inputs, d, k
        self._loss = loss(self.block, self.part, batch_size, k, dtype)
        self._x = np.empty((self.part, batch_size, n_inputs), dtype)
        self._gradient = np.empty((self.part, n_inputs, k * LANES), dtype)
        self._scratch = np.empty_like(self._gradient)
        decays = [(slice(0, d), problem.weight_decay), (slice(d, n_inputs), problem.bias_decay)]
        if n_inputs == d or problem.weight_decay == problem.bias_decay:
            decays = [(slice(0, n_inputs), problem.weight_decay)]
        self._decays = [(span, decay) for span, decay in decays if decay]

    def train(self, weights: Array, velocity: Array, *, rows: Array, rates: Array, steps: Array) -> Array:
        """Make n steps, and return the objective of each, before it, shape (n, G, 8), float64.

        Args:
            weights: shape (G, D, C), changed in place.
            velocity: the same of the momentum; empty without momentum.
            rows: of the training data, shape (n, G, B).
            rates: learning rates, shape (n, G, 8).
            steps: the number of steps that each group has made before, shape (G,).
        """
        problem, (n_steps, size), dtype = self._problem, rates.shape[:2], weights.dtype
        # Without momentum the rate goes into the residual, which is smaller than the gradient.
        self._loss.begin(problem.targets[rows], np.ones_like(rates) if problem.momentum else rates)
        by_column = np.tile(rates[:, :, None], self._k)  # (n, G, 1, C)
        by_column_now = np.ones_like(by_column) if problem.momentum else by_column
        decays = [(span, by_column_now * dtype.type(decay)) for span, decay in self._decays]
        x, gradient, scratch = self._x[:size], self._gradient[:size], self._scratch[:size]
        x_transposed = x.swapaxes(1, 2)
        squares = np.empty((n_steps, size, self._k * LANES), dtype) if problem.penalty else None
        for i in range(n_steps):
            np.take(self._inputs, rows[i], axis=0, out=x, mode="clip")
            residual = self._loss.residual(i, x, weights)
            np.matmul(x_transposed, residual, out=gradient)
            if squares is not None:
                np.einsum("gdc,gdc->gc", weights[:, : self._d], weights[:, : self._d], out=squares[i])
            for span, decay in decays:
                gradient[:, span] += np.multiply(weights[:, span], decay[i], out=scratch[:, span])
            if problem.momentum:
                self._accelerate(gradient, velocity, scratch, steps + i == 0)
                gradient *= by_column[i]
            weights -= gradient
        objectives = self._loss.means()
        if squares is not None:
            objectives += 0.5 * problem.penalty * squares.reshape(n_steps, size, self._k, LANES).sum(axis=2)
        return objectives

    def _accelerate(self, gradient: Array, velocity: Array, scratch: Array, is_first: Array) -> None:
        """Turn the gradient into the direction of the step; update the velocity."""
        problem = self._problem
        velocity *= problem.momentum
        if problem.dampening:
            share = np.where(is_first, 1.0, 1.0 - problem.dampening).astype(gradient.dtype)
            velocity += np.multiply(gradient, share[:, None, None], out=scratch)
        else:
            velocity += gradient
        if problem.nesterov:
            gradient += np.multiply(velocity, problem.momentum, out=scratch)
        else:
            np.copyto(gradient, velocity)


class _Elementwise:
    """A loss that is a mean over the B k outputs, one by one: it keeps the outputs of a block.

    What every loss has: `begin` a block with its targets, shape (n, G, B[, k]), and the factors of the residuals, shape
    (n, G, 8); `residual`, the gradient of step i with respect to the outputs, times the factors, shape (G, B, C); and
    `means`, the losses of the steps of the block, shape (n, G, 8), float64.
    """

    slope = 1.0  # of the loss, over the residual

    def __init__(self, block: int, part: int, batch_size: int, k: int, dtype: np.dtype[Any]) -> None:
        self._kept = np.empty((block, part, batch_size, k * LANES), dtype)
        self._residual = np.empty((part, batch_size, k * LANES), dtype)
        self._k, self._count = k, batch_size * k

    @staticmethod
    def n_kept(k: int, batch_size: int) -> int:
        """Return how many numbers are kept of each step of a group."""
        return batch_size * k * LANES

    def begin(self, targets: Array, rates: Array) -> None:
        n, size = rates.shape[:2]
        self._targets = targets[..., None]  # (n, G, B, k, 1)
        self._factors = np.tile(rates[:, :, None] * rates.dtype.type(self.slope / self._count), self._k)
        self._outputs = self._kept[:n, :size]
        self._out = self._residual[:size]

    def _by_lane(self, array: Array) -> Array:
        return array.reshape(*array.shape[:-1], self._k, LANES)

    def _mean(self, losses: Array) -> Array:
        by_column = losses.sum(axis=2)
        return np.asarray(self._by_lane(by_column).sum(axis=2, dtype=np.float64) / self._count)


class _SquaredError(_Elementwise):
    slope = 2.0

    def residual(self, i: int, x: Array, weights: Array) -> Array:
        errors = np.matmul(x, weights, out=self._outputs[i])
        by_lane = self._by_lane(errors)
        by_lane -= self._targets[i]
        return np.asarray(np.multiply(errors, self._factors[i], out=self._out))

    def means(self) -> Array:
        return self._mean(np.square(self._outputs, out=self._outputs))


class _BinaryCrossEntropy(_Elementwise):
    def residual(self, i: int, x: Array, weights: Array) -> Array:
        logits = np.matmul(x, weights, out=self._outputs[i])
        out = np.negative(logits, out=self._out)
        np.exp(out, out=out)
        out += 1
        np.reciprocal(out, out=out)
        by_lane = self._by_lane(out)
        by_lane -= self._targets[i]
        return np.asarray(np.multiply(out, self._factors[i], out=out))

    def means(self) -> Array:
        """Of ``log(1 + exp(z)) - y z``."""
        logits = self._outputs
        losses = np.abs(logits)
        np.negative(losses, out=losses)
        np.exp(losses, out=losses)
        np.log1p(losses, out=losses)
        losses += np.maximum(logits, 0)
        by_lane = self._by_lane(logits)
        by_lane *= self._targets
        losses -= logits
        return self._mean(losses)


class _CrossEntropy:
    """Softmax and cross-entropy: computed with the rows of the batch last, for the sums over the classes."""

    def __init__(self, block: int, part: int, batch_size: int, k: int, dtype: np.dtype[Any]) -> None:
        self._residual = np.empty((part, batch_size, k * LANES), dtype)
        self._logits = np.empty((part, k, LANES, batch_size), dtype)
        self._max = np.empty((part, 1, LANES, batch_size), dtype)
        self._sums, self._chosen = (np.empty((block, part, 1, LANES, batch_size), dtype) for _ in range(2))

    @staticmethod
    def n_kept(k: int, batch_size: int) -> int:
        return 3 * batch_size * LANES  # the sums, the logits of the targets, and where these are

    def begin(self, targets: Array, rates: Array) -> None:
        self._n, self._size = rates.shape[:2]
        _, k, _, batch_size = self._logits.shape
        self._factors = (rates / rates.dtype.type(batch_size))[:, :, None, :, None]
        groups = k * np.arange(self._size)[:, None]
        lanes = batch_size * np.arange(LANES)[:, None] + np.arange(batch_size)
        # Where in the logits that of the target is, (n, G, 1, 8, B).
        self._where = ((targets + groups) * (LANES * batch_size))[:, :, None, None, :] + lanes

    def residual(self, i: int, x: Array, weights: Array) -> Array:
        size = self._size
        out, logits = self._residual[:size], self._logits[:size]
        sums, chosen = self._sums[i, :size], self._chosen[i, :size]
        np.matmul(x, weights, out=out)
        by_row = out.reshape(size, -1, logits.shape[1], LANES).transpose(0, 2, 3, 1)
        np.copyto(logits, by_row)
        logits -= np.maximum.reduce(logits, axis=1, keepdims=True, out=self._max[:size])
        flat, where = logits.reshape(-1), self._where[i]
        np.take(flat, where, out=chosen, mode="clip")
        np.exp(logits, out=logits)
        np.add.reduce(logits, axis=1, keepdims=True, out=sums)
        logits *= self._factors[i] / sums
        flat[where] -= self._factors[i]
        np.copyto(by_row, logits)
        return out

    def means(self) -> Array:
        n, size = self._n, self._size
        losses = np.log(self._sums[:n, :size]) - self._chosen[:n, :size]
        return np.asarray(losses.mean(axis=(2, 4), dtype=np.float64))


_LOSSES: dict[Kind, type[_SquaredError | _BinaryCrossEntropy | _CrossEntropy]] = {
    "linear": _SquaredError,
    "logistic": _BinaryCrossEntropy,
    "softmax": _CrossEntropy,
}
