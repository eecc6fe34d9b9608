"""A tiny student of the user's own, as source: tests make a module of it and let it be killed."""

#: ``at_step(count)`` is to be defined beside it; it hears of each step of the training.
SMALL = """
from torch import nn

class Small(nn.Module):
    def __init__(self, columns, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )
        self.head = nn.Linear(16, columns)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.training:
            at_step(self.calls)
        return self.head(self.body(x).mean((2, 3)))

def small(*, columns, channels, size):
    return Small(columns, channels)
"""
