"""Dropout whose masks are a function of the seed, the step and the call: the same alone and in any pack of replicas."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from robust_lr._checks import check_number
from robust_lr.exceptions import DataError

_SPATIAL_DIMS = {functional.dropout1d: 1, functional.dropout2d: 2, functional.dropout3d: 3}
_NORMS = (functional.batch_norm, functional.layer_norm, functional.group_norm)


class CounterNoise(TorchFunctionMode):
    """A mode in which dropout takes its masks from a counter and leaves torch's random state untouched.

    Element i (in row-major order) of the c-th dropout call (c = 0, 1, ...) since this was made is kept when
    ``hash(key, c, i) >= p * 2**32``, and is then multiplied by ``1 / (1 - p)``. The hash is in integers, so a mask is
    the same on any device, alone or under ``torch.func.vmap`` with one int32 key per replica; and as the key is an
    input, a graph traced once gives the masks of each key. Make one for each forward pass.

    It covers every dropout (one draw per channel in ``dropout1d`` to ``3d``) and attention. Attention with dropout is
    written out as matrix products; in a pack all attention is, because its kernels have no fast batching rule.
    Other noise, and recomputation by ``torch.utils.checkpoint``, use torch's generators as usual.
    """

    def __init__(self, key: Tensor, *, in_pack: bool = False) -> None:
        super().__init__()
        self._key = key | 1  # odd, and so invertible: multiplying by it loses nothing
        self._in_pack = in_pack
        self.n_calls = 0  # of those that drop something

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.dropout or func in _SPATIAL_DIMS:
            return self._dropout(func, *args, **kwargs)
        if func in _NORMS and self._in_pack:
            return _norm(func, *args, **kwargs) if args else _norm(func, kwargs.pop("input"), **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            with self:  # torch turns a mode off inside its handler
                return _multi_head_attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, func: Callable[..., Tensor], x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        unchanged = func(x, p, training=False)  # torch's own checks of p and of the shape
        if p == 0 or not training:
            return unchanged
        spatial = _SPATIAL_DIMS.get(func)
        if spatial is None:
            return self._drop(x, p, x.shape, inplace)
        # Like torch: only dropout2d takes a missing dimension for a spatial one instead of the batch.
        n_draws = 1 if x.ndim == spatial + 1 and spatial != 2 else 2
        return self._drop(x, p, (*x.shape[:n_draws], *(1,) * (x.ndim - n_draws)), inplace)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p == 0 and not self._in_pack:
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        check_number("dropout_p", dropout_p, error=DataError, at_least=0, at_most=1)
        if is_causal and attn_mask is not None:
            raise DataError("attention takes is_causal=True or an attn_mask, not both")
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        with torch.autocast(query.device.type, enabled=False):  # torch's kernels too keep scores in float32 or better
            query, key = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key))
            scores = query * (query.shape[-1] ** -0.5 if scale is None else scale) @ key.mT
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        sighted = None
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, -torch.inf)
            blind = (attn_mask == -torch.inf).all(-1, keepdim=True)
            sighted = (~blind).to(scores.dtype)  # a query that attends to no key gets 0, as in torch, not NaN
            scores = scores + attn_mask.masked_fill(blind, 0.0)
        weights = scores.softmax(-1)
        if dropout_p > 0:
            weights = self._drop(weights, dropout_p, weights.shape, False)
        seen = weights.to(value.dtype) @ value
        return seen if sighted is None else seen * sighted.to(seen.dtype)

    def _drop(self, x: Tensor, p: float, shape: tuple[int, ...], inplace: bool) -> Tensor:
        mask = self._mask(x, p, shape)
        return x.mul_(mask) if inplace else x * mask

    def _mask(self, x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
        key = self._key ^ _as_int32(2 * 0x9E3779B1 * self.n_calls)
        self.n_calls += 1
        if p == 1:
            return torch.zeros(shape, dtype=x.dtype, device=x.device)
        # Clamping to two neighboring integers compares in one quick pass; booleans take ten times as long.
        smallest_kept = min(max(round(p * 2**32), 1), 2**32 - 1) - 2**31
        bits = _hash(_hashed_positions(shape, x.device), key).clamp(smallest_kept - 1, smallest_kept)
        return bits.sub_(smallest_kept - 1).to(x.dtype).mul_(1 / (1 - p))


def _norm(func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute in the widest type: vmap cannot mix a batch of half precision with weights of float32, as torch does."""
    dtype = x.dtype
    for other in (*args, *kwargs.values()):
        dtype = torch.promote_types(dtype, other.dtype) if isinstance(other, Tensor) else dtype
    return func(x.to(dtype), *args, **kwargs).to(x.dtype)


def noise_keys(seed_stream: int, total_steps: int) -> NDArray[np.int32]:
    """Return the key of each step of a seed, shape (total_steps,); a longer run begins with the same keys.

    With the splitmix64 mixer m and its increment g, the key of step t is the upper half of ``m(m(seed_stream) + t g)``.
    """
    start = _splitmix64(np.array([seed_stream], dtype=np.uint64))
    steps = np.arange(total_steps, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_splitmix64(start + steps) >> np.uint64(32)).astype(np.uint32).view(np.int32)


def _splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hashed_positions(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the hash of 1, 2, ... (that of 0 is 0 under every key) in row-major order, int32: a bijection."""
    n = int(np.prod(shape))
    h = torch.arange(1, n + 1, dtype=torch.int32, device=device).view(shape)
    h = h.mul_(0x21F0AAAD)
    h = h ^ (h >> 15).bitwise_and_(0x1FFFF)  # int32 shifts keep the sign: mask it off
    h = h.mul_(0x735A2D97)
    return h ^ (h >> 15).bitwise_and_(0x1FFFF)


def _hash(positions: Tensor, key: Tensor) -> Tensor:
    """Return ``t (2 t + 1)`` with ``t = positions * key``, modulo 2**32: for an odd key a bijection of the positions.

    The square mixes every bit of t into the upper ones, in two passes over the pack. Without it, masks of two keys of
    a simple ratio were correlated.
    """
    t = positions * key
    return torch.addcmul(t, t, t, value=2)


def _as_int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


# Without the dispatch to a mode in its first lines: the mode itself calls this.
_multi_head_attention = types.FunctionType(
    functional.multi_head_attention_forward.__code__,
    {**functional.multi_head_attention_forward.__globals__, "has_torch_function": lambda tensors: False},
    argdefs=functional.multi_head_attention_forward.__defaults__,
)
