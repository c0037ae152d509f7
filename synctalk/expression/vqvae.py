"""Transformer VQ-VAE that brings expressions into one subject's range (S §III-E, eq. 25-27).

An encoder turns a window of blendshapes into tokens, each token is replaced by the nearest entries
of a codebook that was learnt on the subject's own footage, and a decoder turns those back into
blendshapes: whatever comes in, what leaves is made of what this face has done. The gradient passes
the codebook unchanged (straight through); the loss is

    |b - D(q)|² + |sg[E(b)] - q|² + β |E(b) - sg[q]|²

A token is split into groups with a codebook each, so that brows and lids can combine in ways that
half a minute of footage does not happen to show together. While it learns, inputs are shrunk,
stretched and shaken, and the targets are not: strangers' tracks differ in just that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

WINDOW = 16  # frames
PER_TOKEN = 2
WIDTH, HEADS, LAYERS = 32, 4, 1
GROUPS, ENTRIES, ENTRY_DIM = 4, 32, 8
COMMITMENT = 0.25  # the paper's β


class Quantised(NamedTuple):
    """Tokens after the codebook.

    Args:
        tokens: [B, N, GROUPS * ENTRY_DIM], with the encoder's gradient.
        indices: [B, N, GROUPS] entries chosen.
        loss: codebook and commitment.
    """

    tokens: Tensor
    indices: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """GROUPS codebooks of ENTRIES vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(GROUPS, ENTRIES, ENTRY_DIM) * 0.5)

    def forward(self, encoded: Tensor) -> Quantised:
        """The nearest entry of each group for tokens [B, N, GROUPS * ENTRY_DIM]."""
        parts = encoded.view(*encoded.shape[:-1], GROUPS, ENTRY_DIM)
        away = (parts[..., None, :] - self.entries).square().sum(-1)  # [B, N, GROUPS, ENTRIES]
        indices = away.argmin(-1)
        chosen = torch.stack([e[indices[..., g]] for g, e in enumerate(self.entries)], dim=-2)
        codebook = (parts.detach() - chosen).square().mean()
        commitment = (parts - chosen.detach()).square().mean()
        through = parts + (chosen - parts).detach()
        return Quantised(through.flatten(-2), indices, codebook + COMMITMENT * commitment)


def _transformer() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


class ExpressionVQVAE(nn.Module):
    """Windows of blendshapes [B, WINDOW, columns] to themselves, through a codebook."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        n_tokens = WINDOW // PER_TOKEN
        self.columns = columns
        self.into = nn.Linear(PER_TOKEN * columns, WIDTH)
        self.encoder_place = nn.Parameter(0.02 * torch.randn(n_tokens, WIDTH))
        self.encoder = _transformer()
        self.to_code = nn.Linear(WIDTH, GROUPS * ENTRY_DIM)
        self.codebook = Codebook()
        self.from_code = nn.Linear(GROUPS * ENTRY_DIM, WIDTH)
        self.decoder_place = nn.Parameter(0.02 * torch.randn(n_tokens, WIDTH))
        self.decoder = _transformer()
        self.out = nn.Linear(WIDTH, PER_TOKEN * columns)

    def encode(self, blendshapes: Tensor) -> Tensor:
        """Tokens [B, N, GROUPS * ENTRY_DIM] before the codebook."""
        tokens = blendshapes.reshape(len(blendshapes), -1, PER_TOKEN * self.columns)
        encoded: Tensor = self.to_code(self.encoder(self.into(tokens) + self.encoder_place))
        return encoded

    def decode(self, tokens: Tensor) -> Tensor:
        """Blendshapes [B, WINDOW, columns] of tokens that left the codebook."""
        hidden = self.decoder(self.from_code(tokens) + self.decoder_place)
        decoded: Tensor = self.out(hidden)
        return decoded.reshape(len(tokens), WINDOW, self.columns)

    def forward(self, blendshapes: Tensor) -> tuple[Tensor, Quantised]:
        """Reconstruction [B, WINDOW, columns] and what the codebook did."""
        quantised = self.codebook(self.encode(blendshapes))
        return self.decode(quantised.tokens), quantised


@dataclass(frozen=True)
class CodebookUsage:
    """How a subject's footage uses its codebook.

    Args:
        perplexity: of each group: how many entries it would take, all used alike; at most ENTRIES.
        dead: entries of each group that nothing uses.
        reconstruction: root mean square error of the training windows, blendshape units.
    """

    perplexity: tuple[float, ...]
    dead: tuple[int, ...]
    reconstruction: float


@dataclass(frozen=True)
class VQVAETraining:
    """How the VQ-VAE is trained.

    Args:
        steps, batch, learning_rate: of AdamW, with a cosine schedule.
        gain: inputs are multiplied by 1 ± this, column by column.
        rest: up to this is added to or taken from them.
        noise: standard deviation added to every value.
        velocity: weight of the loss on differences between frames.
        revive_every: steps between two looks for unused entries, which are moved onto tokens.
        seed: of everything random.
    """

    steps: int = 900
    batch: int = 32
    learning_rate: float = 2e-3
    gain: float = 0.3
    rest: float = 0.06
    noise: float = 0.02
    velocity: float = 0.5
    revive_every: int = 100
    seed: int = 0


STANDARD = VQVAETraining()


def fit_vqvae(
    windows: Tensor, weight: Tensor, settings: VQVAETraining = STANDARD
) -> tuple[ExpressionVQVAE, CodebookUsage]:
    """Train on a subject's own windows; seconds on a CPU core.

    Args:
        windows: [W, WINDOW, columns] blendshapes of footage without a cut inside a window.
        weight: [W] how often each is drawn.
        settings: how.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = ExpressionVQVAE(windows.shape[-1])
        _settle(model, windows, weight, settings)
    model.requires_grad_(False).eval()
    return model, codebook_usage(model, windows)


def _settle(
    model: ExpressionVQVAE, windows: Tensor, weight: Tensor, settings: VQVAETraining
) -> None:
    adam = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=1e-3, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.steps)
    used = torch.zeros(GROUPS, ENTRIES)
    for step in range(settings.steps):
        target = windows[torch.multinomial(weight, settings.batch, replacement=True)]
        decoded, quantised = model(_disturbed(target, settings))
        adam.zero_grad()
        (_reconstruction_loss(decoded, target, settings) + quantised.loss).backward()
        adam.step()
        schedule.step()
        used += _counts(quantised.indices)
        if step % settings.revive_every == settings.revive_every - 1:
            if step < settings.steps // 2:
                _revive(model, target, used)
            used.zero_()


def _disturbed(target: Tensor, settings: VQVAETraining) -> Tensor:
    shape = (len(target), 1, target.shape[-1])
    gain = 1 + settings.gain * (2 * torch.rand(shape) - 1)
    rest = settings.rest * (2 * torch.rand(shape) - 1)
    return target * gain + rest + settings.noise * torch.randn_like(target)


def _reconstruction_loss(decoded: Tensor, target: Tensor, settings: VQVAETraining) -> Tensor:
    error = decoded - target
    velocity = error.diff(dim=1).square().mean()
    return 10 * (error.square().mean() + settings.velocity * velocity)


def _counts(indices: Tensor) -> Tensor:
    """[GROUPS, ENTRIES] how often each entry was chosen."""
    return torch.stack(
        [torch.bincount(indices[..., g].flatten(), minlength=ENTRIES) for g in range(GROUPS)]
    ).float()


@torch.no_grad()
def _revive(model: ExpressionVQVAE, windows: Tensor, used: Tensor) -> None:
    """Move entries that nothing chose onto tokens of the last batch."""
    tokens = model.encode(windows).reshape(-1, GROUPS, ENTRY_DIM)
    for group, counts in enumerate(used):
        dead = torch.nonzero(counts == 0)[:, 0]
        picked = tokens[torch.randint(len(tokens), (len(dead),)), group]
        model.codebook.entries[group, dead] = picked + 0.01 * torch.randn_like(picked)


@torch.no_grad()
def codebook_usage(model: ExpressionVQVAE, windows: Tensor) -> CodebookUsage:
    """What windows [W, WINDOW, columns] use of the codebook."""
    decoded, quantised = model(windows)
    counts = _counts(quantised.indices)
    share = counts / counts.sum(1, keepdim=True)
    perplexity = torch.exp(-(share * share.clamp_min(1e-12).log()).sum(1))
    error = float((decoded - windows).square().mean().sqrt())
    dead = (counts == 0).sum(1)
    return CodebookUsage(
        tuple(round(float(p), 2) for p in perplexity), tuple(int(n) for n in dead), error
    )
