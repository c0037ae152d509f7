"""Transformer VQ-VAE that brings expressions into one subject's range (S §III-E, eq. 25-27).

An encoder turns a window of blendshapes into tokens, each token is replaced by the nearest entries
of a codebook that was learnt on the subject's own footage, and a decoder turns those back into
blendshapes: whatever comes in, what leaves is made of what this face has done. The gradient passes
the codebook unchanged (straight through); the loss is

    |b - D(q)|² + |sg[E(b)] - q|² + β |E(b) - sg[q]|²

Brows and lids pass as tokens of their own, which share the networks but neither codebooks nor
attention: a blink with raised brows, which half a minute of footage hardly shows, is still made of
a blink and of raised brows. Each token is split into two groups with a codebook each. While it
learns, inputs are shrunk, stretched and shaken, and the targets are not: strangers' tracks differ
in just that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

WINDOW = 16  # frames
PER_TOKEN = 2
WIDTH, HEADS, LAYERS = 32, 4, 1
GROUPS, ENTRIES, ENTRY_DIM = 2, 32, 8
COMMITMENT = 0.25  # the paper's β

Parts = tuple[tuple[int, ...], ...]
"""Columns of each part of the face."""


class Quantised(NamedTuple):
    """Tokens after the codebook.

    Args:
        tokens: [P, B, N, GROUPS * ENTRY_DIM] of P parts, with the encoder's gradient.
        indices: [P, B, N, GROUPS] entries chosen.
        loss: codebook and commitment.
    """

    tokens: Tensor
    indices: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """GROUPS codebooks of ENTRIES vectors for each part."""

    def __init__(self, n_parts: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(0.5 * torch.randn(n_parts, GROUPS, ENTRIES, ENTRY_DIM))

    def forward(self, encoded: Tensor) -> Quantised:
        """The nearest entry of each group for tokens [P, B, N, GROUPS * ENTRY_DIM]."""
        tokens = encoded.view(*encoded.shape[:-1], GROUPS, ENTRY_DIM)
        entries = self.entries[:, None, None]  # [P, 1, 1, GROUPS, ENTRIES, ENTRY_DIM]
        indices = (tokens[..., None, :] - entries).square().sum(-1).argmin(-1)
        wanted = indices[..., None, None].expand(*indices.shape, 1, ENTRY_DIM)
        chosen = entries.expand(*indices.shape, ENTRIES, ENTRY_DIM).gather(-2, wanted)[..., 0, :]
        codebook = (tokens.detach() - chosen).square().mean()
        commitment = (tokens - chosen.detach()).square().mean()
        through = tokens + (chosen - tokens).detach()
        return Quantised(through.flatten(-2), indices, codebook + COMMITMENT * commitment)


def _transformer() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


class ExpressionVQVAE(nn.Module):
    """Windows of blendshapes [B, WINDOW, columns] to themselves, through a codebook."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        n_tokens, self.most = WINDOW // PER_TOKEN, max(map(len, parts))
        self.parts = parts
        self.into = nn.Linear(PER_TOKEN * self.most, WIDTH)
        self.encoder_place = nn.Parameter(0.1 * torch.randn(len(parts), 1, n_tokens, WIDTH))
        self.encoder = _transformer()
        self.to_code = nn.Linear(WIDTH, GROUPS * ENTRY_DIM)
        self.codebook = Codebook(len(parts))
        self.from_code = nn.Linear(GROUPS * ENTRY_DIM, WIDTH)
        self.decoder_place = nn.Parameter(0.1 * torch.randn(len(parts), 1, n_tokens, WIDTH))
        self.decoder = _transformer()
        self.out = nn.Linear(WIDTH, PER_TOKEN * self.most)

    def encode(self, blendshapes: Tensor) -> Tensor:
        """Tokens [P, B, N, GROUPS * ENTRY_DIM] before the codebook."""
        padded = [
            nn.functional.pad(blendshapes[..., list(part)], (0, self.most - len(part)))
            for part in self.parts
        ]
        tokens = torch.stack(padded).view(
            len(self.parts), len(blendshapes), -1, self.into.in_features
        )
        hidden = (self.into(tokens) + self.encoder_place).flatten(0, 1)
        encoded: Tensor = self.to_code(self.encoder(hidden))
        return encoded.view(*tokens.shape[:3], -1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Blendshapes [B, WINDOW, columns] of tokens that left the codebook."""
        hidden = (self.from_code(tokens) + self.decoder_place).flatten(0, 1)
        rows = self.out(self.decoder(hidden)).view(*tokens.shape[:2], WINDOW, self.most)
        decoded: Tensor = rows.new_zeros(*rows.shape[1:3], sum(map(len, self.parts)))
        for part, row in zip(self.parts, rows, strict=True):
            decoded[..., list(part)] = row[..., : len(part)]
        return decoded

    def forward(self, blendshapes: Tensor) -> tuple[Tensor, Quantised]:
        """Reconstruction [B, WINDOW, columns] and what the codebook did."""
        quantised = self.codebook(self.encode(blendshapes))
        return self.decode(quantised.tokens), quantised


@dataclass(frozen=True)
class CodebookUsage:
    """How a subject's footage uses its codebook.

    Args:
        perplexity: of each group, part by part: how many entries it would take, all used alike;
            at most ENTRIES.
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
    windows: Tensor, weight: Tensor, parts: Parts, settings: VQVAETraining = STANDARD
) -> tuple[ExpressionVQVAE, CodebookUsage]:
    """Train on a subject's own windows; seconds on a CPU core.

    Args:
        windows: [W, WINDOW, columns] blendshapes of footage without a cut inside a window.
        weight: [W] how often each is drawn.
        parts: columns of the parts of the face.
        settings: how.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = ExpressionVQVAE(parts)
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
    used = torch.zeros(len(model.parts), GROUPS, ENTRIES)
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
    """[P, GROUPS, ENTRIES] how often each entry was chosen."""
    counts: Tensor = nn.functional.one_hot(indices, ENTRIES).sum((1, 2))
    return counts.float()


@torch.no_grad()
def _revive(model: ExpressionVQVAE, windows: Tensor, used: Tensor) -> None:
    """Move entries that nothing chose onto tokens of the last batch."""
    tokens = model.encode(windows).view(len(model.parts), -1, GROUPS, ENTRY_DIM)
    for part, group, entry in torch.nonzero(used == 0).tolist():
        token = tokens[part, torch.randint(tokens.shape[1], ()), group]
        model.codebook.entries[part, group, entry] = token + 0.01 * torch.randn_like(token)


@torch.no_grad()
def codebook_usage(model: ExpressionVQVAE, windows: Tensor) -> CodebookUsage:
    """What windows [W, WINDOW, columns] use of the codebook."""
    decoded, quantised = model(windows)
    counts = _counts(quantised.indices).flatten(0, 1)
    share = counts / counts.sum(1, keepdim=True)
    perplexity = torch.exp(-(share * share.clamp_min(1e-12).log()).sum(1))
    error = float((decoded - windows).square().mean().sqrt())
    dead = (counts == 0).sum(1)
    return CodebookUsage(
        tuple(round(float(p), 2) for p in perplexity), tuple(int(n) for n in dead), error
    )
