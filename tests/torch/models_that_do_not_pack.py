"""Models that replicas cannot train together, each for a reason of its own; the tests look for the marked lines."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

D, K = 8, 3


class Branches(nn.Linear):
    def __init__(self):
        super().__init__(D, K)

    def forward(self, x):
        h = super().forward(x)
        if h.sum() > 0:  # here: Branches
            return h
        return -h


class ReadsItsValue(Branches):
    def forward(self, x):
        h = nn.Linear.forward(self, x)
        return h * h.mean().item()  # here: ReadsItsValue


class Masks(Branches):
    def forward(self, x):
        h = nn.Linear.forward(self, x)
        return h + h[h > 0].sum()  # here: Masks


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class OldStyle(Branches):
    def forward(self, x):
        return Doubled.apply(nn.Linear.forward(self, x))  # here: OldStyle


class Draws(Branches):
    def forward(self, x):
        h = nn.Linear.forward(self, x)
        return h + 0.01 * torch.randn_like(h)  # here: Draws


def make_spectral():  # here: make_spectral
    return nn.Sequential(spectral_norm(nn.Linear(D, 8)), nn.ReLU(), nn.Linear(8, K))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.last = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, K)

    def forward(self, x):
        return self.last(self.lstm(x.unflatten(1, (4, 2)))[0][:, -1])


class CountsItsCalls(Branches):
    n_calls = 0.0

    def forward(self, x):
        self.n_calls += 1.0
        return nn.Linear.forward(self, x) * self.n_calls
