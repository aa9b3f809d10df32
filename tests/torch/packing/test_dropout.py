"""CounterNoise: masks that depend on the seed, the step and the call and on nothing else; their quality; attention."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from robust_lr.exceptions import DataError
from robust_lr_torch.packing._dropout import CounterNoise, noise_keys

torch.set_num_threads(1)

PACKS = (1, 2, 8)


def keys(n=8, stream=3):
    return torch.from_numpy(noise_keys(stream, n))


def kept(key, shape, p, n_calls=1):
    """Return the masks of `n_calls` calls of dropout, stacked."""
    with CounterNoise(key):
        return torch.stack([functional.dropout(torch.ones(shape), p) != 0 for _ in range(n_calls)])


def twin_mask(key, call, n, p):
    """The slow obvious twin: one element after the other, in whole numbers of any size."""

    def mix(h):
        for factor in (0x21F0AAAD, 0x735A2D97):
            h = h * factor % 2**32
            h ^= h >> 15
        return h

    odd = ((int(key) | 1) ^ (2 * 0x9E3779B1 * call)) % 2**32
    kept = []
    for i in range(n):
        t = mix(i + 1) * odd % 2**32
        bits = t * (2 * t + 1) % 2**32
        signed = bits - 2**32 if bits >= 2**31 else bits
        kept.append(signed >= round(p * 2**32) - 2**31)
    return kept


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_masks_are_those_of_the_formula(p):
    for key in keys(3):
        masks = kept(key, (100,), p, n_calls=3)
        assert masks.tolist() == [twin_mask(key, call, 100, p) for call in range(3)]


class Block(nn.Module):
    """Dropout in every form that a convolutional network may have."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)
        self.dropouts = nn.ModuleList([nn.Dropout2d(0.3), nn.Dropout(0.2), nn.Dropout1d(0.5), nn.Dropout(0.4, True)])

    def forward(self, x):
        x = self.dropouts[1](self.dropouts[0](self.convolution(x)))
        return self.dropouts[3](self.dropouts[2](x.flatten(2)) * 2)


class Attention(nn.Module):
    """One layer of multi-head attention with dropout, in either of torch's two ways."""

    def __init__(self, need_weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


def transformer():
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)


MODELS = {
    "dropout": (Block, (3, 2, 6, 6)),
    "attention with weights": (lambda: Attention(True), (3, 5, 8)),
    "attention without weights": (lambda: Attention(False), (3, 5, 8)),
    "transformer": (transformer, (3, 5, 8)),
}


@pytest.fixture(params=MODELS, ids=str)
def model_and_data(request):
    make_model, shape = MODELS[request.param]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make_model().double(), torch.randn(shape, dtype=torch.float64)


def make_loss(model, x):
    def loss(parameters, key):
        with CounterNoise(key, in_pack=True):
            return functional_call(model, parameters, (x,)).square().mean()

    return loss


@pytest.mark.parametrize("size", PACKS)
def test_a_replica_does_not_depend_on_its_pack(model_and_data, size):
    model, x = model_and_data
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    stacked = {name: torch.stack([p] * size) for name, p in parameters.items()}
    alone = grad_and_value(make_loss(model, x))
    pack = vmap(alone)
    traced = make_fx(pack)(stacked, keys(size, stream=1))
    for run in (pack, traced):
        gradients, losses = run(stacked, keys(size))
        for r, key in enumerate(keys(size)):
            expected, loss = alone(parameters, key)
            torch.testing.assert_close(losses[r], loss, rtol=0, atol=1e-13)
            for name in parameters:
                torch.testing.assert_close(gradients[name][r], expected[name], rtol=0, atol=1e-13)
    assert size == 1 or len(set(losses.tolist())) == size


@pytest.mark.parametrize("dropout", [functional.dropout, functional.dropout1d, functional.dropout2d])
@pytest.mark.parametrize("size", PACKS)
def test_the_masks_of_a_pack_are_those_of_the_plain_loop(dropout, size):
    def output(x, key):
        with CounterNoise(key):
            return dropout(dropout(x, 0.3), 0.3)

    def gradient(x, key):
        return grad_and_value(lambda x: output(x, key).sum())(x)[0]

    x = torch.ones(5, 6, 7) if dropout is not functional.dropout2d else torch.ones(5, 6, 3, 7)
    stacked = x.expand(size, *x.shape)
    for function in (output, gradient):
        loop = torch.stack([function(x, key) for key in keys(size)])
        pack = vmap(function)
        traced = make_fx(pack)(stacked, keys(size, stream=1))
        assert torch.equal(pack(stacked, keys(size)), loop)
        assert torch.equal(vmap(function, in_dims=(None, 0))(x, keys(size)), loop)
        assert torch.equal(traced(stacked, keys(size)), loop)


def test_torchs_random_state_is_neither_used_nor_changed(model_and_data):
    model, x = model_and_data
    seen = []
    for seed in (0, 1):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            with CounterNoise(keys()[0]):
                seen.append(model(x))
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], model.eval()(x))


def test_a_model_draws_other_masks_in_each_call_and_the_same_in_each_forward_pass():
    first, again = kept(keys()[0], (100,), 0.5, n_calls=3), kept(keys()[0], (100,), 0.5, n_calls=3)
    assert torch.equal(first, again)
    assert len({tuple(mask.tolist()) for mask in first}) == 3


def test_calls_that_drop_nothing_are_the_identity_and_are_not_counted():
    x = torch.ones(100)
    with CounterNoise(keys()[0]) as noise:
        for p, training in ((0.0, True), (0.5, False), (1.0, False)):
            assert torch.equal(functional.dropout(x, p, training), x)
        assert noise.n_calls == 0
        y = functional.dropout(x, 0.5)
        assert noise.n_calls == 1
    assert torch.equal(y != 0, kept(keys()[0], (100,), 0.5)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.25, 0.9, 1.0])
@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_kept_is_scaled_in_its_own_dtype_and_so_is_its_gradient(dtype, p, inplace):
    x = torch.linspace(1, 2, 64, dtype=dtype).requires_grad_()
    copy = x.clone()
    with CounterNoise(keys()[0]):
        y = functional.dropout(copy, p, inplace=inplace)
    y.sum().backward()
    scale = 0.0 if p == 1 else 1 / (1 - p)
    mask = torch.tensor(twin_mask(keys()[0], 0, 64, p) if p < 1 else [False] * 64)
    expected = torch.where(mask, torch.tensor(scale, dtype=dtype), 0.0)
    assert y.dtype == dtype
    torch.testing.assert_close(y, x.detach() * expected)
    torch.testing.assert_close(x.grad, expected)
    assert (y is copy) == inplace


def test_the_mask_goes_by_position_and_not_by_layout():
    x = torch.ones(7, 9)
    assert not x.T.is_contiguous()
    with CounterNoise(keys()[0]):
        y = functional.dropout(x.T, 0.5)
    assert torch.equal(y != 0, kept(keys()[0], (9, 7), 0.5)[0])


@pytest.mark.parametrize(
    ("dropout", "shape", "drawn"),
    [
        (functional.dropout1d, (8, 6, 5), (8, 6, 1)),
        (functional.dropout1d, (48, 5), (48, 1)),
        (functional.dropout2d, (8, 6, 5, 4), (8, 6, 1, 1)),
        (functional.dropout3d, (8, 6, 5, 4, 3), (8, 6, 1, 1, 1)),
        (functional.dropout3d, (48, 5, 4, 3), (48, 1, 1, 1)),
    ],
)
def test_feature_dropout_drops_whole_channels(dropout, shape, drawn):
    with CounterNoise(keys()[0]):
        y = dropout(torch.ones(shape), 0.5)
    assert torch.equal(y, 2.0 * kept(keys()[0], drawn, 0.5)[0].expand(shape))


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_what_torch_refuses_is_refused(p):
    with CounterNoise(keys()[0]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            functional.dropout(torch.ones(3), p)
        with pytest.raises(DataError, match="dropout_p must be"):
            functional.scaled_dot_product_attention(*torch.ones(3, 1, 2, 4), dropout_p=p)
        with pytest.raises(RuntimeError, match="Expected 2D or 3D"):
            functional.dropout1d(torch.ones(3))


# The keep rate and the correlations of masks of N elements, each within 4 standard deviations of what chance gives.
SIDE = 512
N = SIDE * SIDE


def standardized(masks, p):
    return (masks.double() - (1 - p)) / math.sqrt(p * (1 - p))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_masks_keep_as_many_as_they_should_and_are_not_correlated(p):
    n_steps, n_calls = 4, 3
    masks = torch.stack(
        [torch.stack([kept(key, (SIDE, SIDE), p, n_calls) for key in keys(n_steps, stream=seed)]) for seed in range(2)]
    )
    z = standardized(masks, p)  # [seeds, steps, calls, SIDE, SIDE]

    def assert_chance(products, of):
        means = products.flatten(-2).mean(-1) * math.sqrt(products.shape[-1] * products.shape[-2])
        assert float(means.abs().max()) < 4.0, of

    assert_chance(z, "the keep rate")
    assert_chance(z[1:] * z[:-1], "consecutive seeds")
    assert_chance(z[:, 1:] * z[:, :-1], "consecutive steps")
    assert_chance(z[:, :, 1:] * z[:, :, :-1], "consecutive calls")
    assert_chance(z[..., 1:] * z[..., :-1], "neighbors in a row")
    assert_chance(z[..., 1:, :] * z[..., :-1, :], "neighbors in a column")


def test_no_structure_is_visible_in_two_dimensions():
    z = standardized(kept(keys()[0], (SIDE, SIDE), 0.5), 0.5)[0]
    offsets = [2**k for k in range(9)]
    scores = []
    for down, right in itertools.product([0, *offsets[:-1]], [0, *offsets[:-1]]):
        a, b = z[: SIDE - down, : SIDE - right], z[down:, right:]
        c, d = z[down:, : SIDE - right], z[: SIDE - down, right:]
        if down or right:
            scores.append(float((a * b).mean()) * math.sqrt(a.numel()))
        if down and right:  # the four corners of a rectangle
            scores.append(float((a * b * c * d).mean()) * math.sqrt(a.numel()))
    assert max(map(abs, scores)) < 4.5  # of 144 numbers
    assert 0.8 < np.std(scores) < 1.2


def test_an_element_is_kept_as_often_as_it_should_over_the_steps_of_a_run():
    p, n_steps = 0.3, 1 << 14
    masks = vmap(lambda key: _dropped(key, p))(keys(n_steps))
    z = standardized(masks, p)
    assert float(z.mean(0).abs().max()) * math.sqrt(n_steps) < 4.0
    correlations = (z.T @ z / n_steps).fill_diagonal_(0.0)
    assert float(correlations.abs().max()) * math.sqrt(n_steps) < 4.5  # of 496 pairs


def _dropped(key, p):
    with CounterNoise(key):
        return functional.dropout(torch.ones(32), p) != 0


def test_the_first_keys_of_a_stream_do_not_depend_on_how_many_there_are():
    for stream in (0, 1, 2**64 - 1):
        assert noise_keys(stream, 1000).dtype == np.int32
        assert np.array_equal(noise_keys(stream, 1000)[:10], noise_keys(stream, 10))


def test_keys_of_neighboring_streams_and_steps_are_all_different():
    every = np.concatenate([noise_keys(stream, 500) for stream in range(10)])
    assert len(np.unique(every)) == len(every)


def attention_inputs(n_key_heads=4):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 5, 8), (2, n_key_heads, 6, 8), (2, n_key_heads, 6, 8))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "boolean mask": {"attn_mask": torch.ones(5, 6, dtype=torch.bool).tril(1)},
    "a query that sees nothing": {"attn_mask": torch.arange(5)[:, None].expand(5, 6) != 2},
    "float mask": {"attn_mask": torch.linspace(-3, 3, 60).view(2, 1, 5, 6)},
    "float mask of a query that sees nothing": {
        "attn_mask": torch.zeros(2, 1, 1, 6).index_fill(0, torch.tensor(1), -math.inf)
    },
    "scale": {"scale": 0.3},
    "grouped queries": {"enable_gqa": True},
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_written_out_is_torchs(name):
    options = ATTENTION[name]
    inputs = attention_inputs(2 if "enable_gqa" in options else 4)
    native = functional.scaled_dot_product_attention(*inputs, **options)
    with CounterNoise(keys()[0], in_pack=True):
        written_out = functional.scaled_dot_product_attention(*inputs, **options)
    torch.testing.assert_close(written_out, native, rtol=0, atol=1e-6)
    for of_ours, of_torch in zip(
        *(torch.autograd.grad(out.square().sum(), inputs) for out in (written_out, native)), strict=True
    ):
        torch.testing.assert_close(of_ours, of_torch, rtol=0, atol=1e-5)


def test_attention_without_dropout_stays_torchs_unless_it_is_to_be_written_out():
    inputs = attention_inputs()
    with CounterNoise(keys()[0]):
        assert torch.equal(
            functional.scaled_dot_product_attention(*inputs),
            functional.scaled_dot_product_attention(*inputs, None, 0.0),
        )
        traced = make_fx(functional.scaled_dot_product_attention)(*inputs)
    assert "softmax" not in traced.code


def test_dropout_in_attention_is_on_its_weights():
    query, key, _ = attention_inputs()
    for number, p in ((0, 0.3), (1, 1.0)):
        with CounterNoise(keys()[number]):
            out = functional.scaled_dot_product_attention(query, key, torch.eye(6).expand(2, 4, 6, 6), dropout_p=p)
        weights = (query @ key.mT / math.sqrt(8)).softmax(-1)
        expected = torch.zeros_like(weights)
        if p < 1:
            expected = weights * kept(keys()[number], weights.shape, p)[0] / (1 - p)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_attention_is_causal_or_masked_but_not_both():
    mask = torch.ones(5, 6, dtype=torch.bool)
    with CounterNoise(keys()[0]), pytest.raises(DataError, match="not both"):
        functional.scaled_dot_product_attention(*attention_inputs(), mask, 0.1, True)


@pytest.mark.parametrize("model_name", ["attention with weights", "attention without weights", "transformer"])
def test_without_dropout_the_mode_changes_no_attention_module(model_name):
    make_model, shape = MODELS[model_name]
    model, x = make_model().eval(), torch.ones(shape)
    expected = model(x)
    for write_out in (False, True):
        with CounterNoise(keys()[0], in_pack=write_out):
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-6)
