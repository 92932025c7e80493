"""torch.compile(backend="cnndsl") in a process of its own, where Triton is set up for its interpreter from the start.

Prints, as JSON, for each module: how far its result is from torch's own, with the weights that it was compiled with and
after they were changed in place; how many parts run as networks; and what was left to torch.
"""

import json
import logging
import sys

import torch
from torch import nn

torch.set_num_threads(1)
LOG: list[str] = []


class Collect(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        LOG.append(record.getMessage())


class Plain(nn.Module):
    """All of it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
                                  nn.MaxPool2d(2), nn.ChannelShuffle(2))  # fmt: skip
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y = y + y.mean((2, 3), keepdim=True).sigmoid() * y
        return self.head(torch.flatten(y.mean((2, 3)), 1))


class Mixed(nn.Module):
    """Two parts with something between them that only torch knows, and a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.a(x))
        z = torch.relu(self.b(torch.cumsum(y, 2))) + y
        u, v = z.chunk(2, 1)
        return self.head(torch.cat([v, u], 1).amax((2, 3))), y


class Torn(nn.Module):
    """Half of a channel shuffle, of which the other half is none."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x).view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2)
        return y.cumsum(1)


class Nothing(nn.Module):
    """No layer that is worth a kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + x


def difference(a: object, b: object) -> float:
    pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


def main() -> None:
    logger = logging.getLogger("cnndsl")
    logger.addHandler(Collect())
    logger.setLevel(logging.INFO)
    results = {}
    for kind in (Plain, Mixed, Torn, Nothing):
        torch.manual_seed(0)
        module = kind().eval()
        LOG.clear()
        x = torch.randn(2, 3, 8, 8)
        compiled = torch.compile(module, backend="cnndsl")
        with torch.no_grad():
            errors = [difference(compiled(x), module(x)), difference(compiled(2 * x), module(2 * x))]
            for parameter in module.parameters():
                parameter.mul_(1.5)
            errors += [difference(compiled(x), module(x)), difference(compiled(x[:1]), module(x[:1]))]
        results[kind.__name__] = {"errors": errors, "log": list(LOG)}
        LOG.clear()
        trained = compiled(x.clone().requires_grad_())
        trained = trained[0] if isinstance(trained, tuple) else trained
        results[kind.__name__] |= {"gradients": trained.requires_grad, "warning": list(LOG)}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
