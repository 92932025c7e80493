"""torch.compile(backend="cnndsl") in a process of its own, where Triton is set up for its interpreter from the start.

Prints, as JSON, for each module: how far its results are from torch's own, call by call; in what else than values they
differ; and what the backend said of its parts.
"""

import copy
import json
import logging
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as f

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
        self.gate = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y = y + y * self.gate(y.mean((2, 3))).sigmoid()[:, :, None, None].expand_as(y)
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
    """Half of a channel shuffle, of which the other half is none; of a pooling, both results."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.a(x)
        largest = f.max_pool2d(y, 2, return_indices=True)
        return y.view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2).cumsum(1), *largest


class Views(nn.Module):
    """Views of a part's results that only some orders in memory have, in either order."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.a(x)
        rows = y.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).cumsum(1)
        return y, y.reshape(-1, *x.shape[2:]).cumsum(0), rows


class Kinds(nn.Module):
    """What no one network computes: two types, two batches, and constants that change the type."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1).half()
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        half = self.b(x.half())
        return self.a(x) * half.float(), half * self.scale, self.a(torch.cat([x, x]))


class Changing(nn.Module):
    """What is written in place: the input, after it was read, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.register_buffer("state", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        x.mul_(2)
        self.state.add_(y.mean((0, 2, 3)))
        return y * self.state[:, None, None]


class Nothing(nn.Module):
    """No layer that is worth a kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + x


def scaled_in_place(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.mul_(1.5)


def replaced(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data.flip(0).contiguous()


def pictures(n: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(n))


Step = torch.Tensor | Callable[[nn.Module], None]
"""Pictures to call a module with, or a change of it."""

CASES: dict[str, tuple[type[nn.Module], list[Step]]] = {
    # 2, 1, and then any batch: torch compiles for each of the first two alone.
    "Plain": (Plain, [pictures(2), scaled_in_place, pictures(2), pictures(3), pictures(5), replaced, pictures(5)]),
    "Mixed": (Mixed, [pictures(2), pictures(1)]),
    "Torn": (Torn, [pictures(2)]),
    "Views": (Views, [pictures(2), pictures(2).to(memory_format=torch.channels_last)]),
    "Kinds": (Kinds, [pictures(2)]),
    "Changing": (Changing, [pictures(2), pictures(2)]),
    "Nothing": (Nothing, [pictures(2)]),
    "Sizes": (Torn, [pictures(2), pictures(2, 6, 10)]),
    "Inference": (Torn, [pictures(2), scaled_in_place, pictures(2)]),
}


def run(name: str) -> dict[str, object]:
    kind, steps = CASES[name]
    torch._dynamo.reset()
    torch.manual_seed(0)
    LOG.clear()
    errors, differ = [], []
    with torch.inference_mode() if name == "Inference" else torch.no_grad():
        ours = kind().eval()
        theirs = copy.deepcopy(ours)
        compiled = torch.compile(ours, backend="cnndsl")
        for step in steps:
            if not isinstance(step, torch.Tensor):
                step(ours)
                step(theirs)
                continue
            x, y = step.clone(), step.clone()
            pairs = list(zip(flat(compiled(x)), flat(theirs(y)), strict=True))
            errors += [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in [*pairs, (x, y)]]
            differ += [n for n in ("shape", "dtype") for a, b in pairs if getattr(a, n) != getattr(b, n)]
            differ += ["stride" for a, b in pairs if a.stride() != b.stride()]
    return {"errors": errors, "differ": differ, "log": list(LOG)}


def flat(result: object) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else list(result)


def gradients() -> dict[str, object]:
    """Where gradients are recorded, torch computes."""
    module, x = Mixed().eval(), pictures(1)
    LOG.clear()
    result = torch.compile(module, backend="cnndsl")(x)[0]
    return {"same": bool(torch.equal(result, module(x)[0])), "recorded": result.requires_grad, "log": list(LOG)}


def main() -> None:
    logger = logging.getLogger("cnndsl")
    logger.addHandler(Collect())
    logger.setLevel(logging.INFO)
    json.dump({**{name: run(name) for name in CASES}, "gradients": gradients()}, sys.stdout)


if __name__ == "__main__":
    main()
