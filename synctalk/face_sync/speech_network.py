"""The network that hears: the first four layers of Moonshine Tiny's encoder, as published.

Moonshine (Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice
Commands", 2024; MIT) was taught to write down some 200,000 hours of English. Its middle layers say
which sound is made, and how, whoever speaks and whatever sounds beside it, and they say how far a
mouth opens better than any network that could be taught on the footage at hand
(docs/research/face-sync.md). Its eight-bit weights are kept as they came; nothing is trained here.

A token describes 24 ms (:data:`TOKEN` samples) around its centre and hears :data:`SPAN` samples.
Published, a layer attends to a whole utterance. :meth:`SpeechNetwork.causal` is the same network
attending to the past alone, :data:`PAST` tokens in each layer, which live speech needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, layer_norm, linear, scaled_dot_product_attention

TOKEN = 384  # samples from one token to the next
SPAN = 895  # samples that a token hears
CHANNELS = 288
LAYERS = 4
PAST = 100  # tokens (2.4 s) that a layer looks back when it hears no future
LEVEL = 5.0  # natural log of a speaker's loud mel power (``speech.measure``) that it is fed with
_HEADS, _WIDE = 8, 1152
_HEAD = CHANNELS // _HEADS
_ROTATED = 32  # channels of a head that carry its place; the others do not turn
_SPREAD = 0.2202  # of the first convolution's outputs in speech of LEVEL (in place of GroupNorm)
_EPS = 1e-5


class Quantised(nn.Module):
    """An eight-bit weight: ``(q - zero) * scale``. Kept as published, used as floats."""

    q: Tensor
    zero: Tensor
    scale: Tensor

    def __init__(self, *shape: int) -> None:
        """Make an empty one of ``shape``."""
        super().__init__()
        self.register_buffer("q", torch.zeros(shape, dtype=torch.uint8))
        self.register_buffer("zero", torch.zeros((), dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(()))
        self._floats: Tensor | None = None

    def forward(self) -> Tensor:
        """The weight, float32."""
        if self._floats is None or self._floats.device != self.q.device:
            self._floats = (self.q.float() - self.zero.float()) * self.scale.float()
        return self._floats


class Layer(nn.Module):
    """A Transformer layer: attention with rotary places, then two linear layers."""

    def __init__(self) -> None:
        """Make an untrained layer."""
        super().__init__()
        self.attention_norm = nn.Parameter(torch.ones(CHANNELS))
        self.query, self.key, self.value, self.mix = (
            Quantised(CHANNELS, CHANNELS) for _ in range(4)
        )
        self.wide_norm = nn.Parameter(torch.ones(CHANNELS))
        self.widen, self.widen_bias = Quantised(_WIDE, CHANNELS), nn.Parameter(torch.zeros(_WIDE))
        self.narrow = Quantised(CHANNELS, _WIDE)
        self.narrow_bias = nn.Parameter(torch.zeros(CHANNELS))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, 8, T, 36] of [B, T, 288]; places are not in them yet."""
        normal = layer_norm(x, (CHANNELS,), self.attention_norm, eps=_EPS)
        batch, time = x.shape[:2]
        query, key, value = (
            linear(normal, weight()).view(batch, time, _HEADS, _HEAD).transpose(1, 2)
            for weight in (self.query, self.key, self.value)
        )
        return query, key, value

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention: [B, T, 288] and [B, 8, T, 36] to [B, T, 288]."""
        x = x + linear(attended.transpose(1, 2).flatten(2), self.mix())
        normal = layer_norm(x, (CHANNELS,), self.wide_norm, eps=_EPS)
        wide = gelu(linear(normal, self.widen(), self.widen_bias))
        return x + linear(wide, self.narrow(), self.narrow_bias)


@dataclass(frozen=True)
class Past:
    """What causal streams remember.

    Args:
        keys: [B, 4, 8, PAST, 36] of their last tokens, turned to their places.
        values: [B, 4, 8, PAST, 36].
        place: [B] int64, how many tokens came before.
    """

    keys: Tensor
    values: Tensor
    place: Tensor

    @classmethod
    def joined(cls, pasts: Sequence[Past]) -> Past:
        """Of several streams."""
        return cls(
            torch.cat([p.keys for p in pasts]),
            torch.cat([p.values for p in pasts]),
            torch.cat([p.place for p in pasts]),
        )

    def split(self) -> list[Past]:
        """Of each stream."""
        parts = zip(*(torch.split(x, 1) for x in (self.keys, self.values, self.place)), strict=True)
        return [Past(*part) for part in parts]


class SpeechNetwork(nn.Module):
    """Sound to tokens; 5.7 M parameters in eight bits."""

    def __init__(self) -> None:
        """Make an untrained network; the encoder's weights hold the trained one."""
        super().__init__()
        self.first = Quantised(CHANNELS, 1, 127)
        self.gain = nn.Parameter(torch.ones(CHANNELS))
        self.offset = nn.Parameter(torch.zeros(CHANNELS))
        self.second = Quantised(2 * CHANNELS, CHANNELS, 7)
        self.second_bias = nn.Parameter(torch.zeros(2 * CHANNELS))
        self.third = Quantised(CHANNELS, 2 * CHANNELS, 3)
        self.third_bias = nn.Parameter(torch.zeros(CHANNELS))
        self.layers: nn.ModuleList = nn.ModuleList(Layer() for _ in range(LAYERS))

    def front(self, samples: Tensor) -> Tensor:
        """Tokens before attention, [B, (n - 895) // 384 + 1, 288], of sound [B, n] at 16 kHz.

        Whoever speaks is fed at :data:`LEVEL`: the published network divides by the spread over
        the whole utterance instead, which a stream cannot know.
        """
        heard = torch.tanh(conv1d(samples[:, None], self.first(), stride=64))
        heard = heard * (self.gain / _SPREAD)[:, None] + self.offset[:, None]
        heard = gelu(conv1d(heard, self.second(), self.second_bias, stride=3))
        heard = gelu(conv1d(heard, self.third(), self.third_bias, stride=2))
        return heard.transpose(1, 2)

    def whole(self, tokens: Tensor) -> Tensor:
        """Every token attends to every other: [B, T, 288] to [B, T, 288]."""
        places = turn(torch.arange(tokens.shape[1])[None])
        for layer in self.layers:
            assert isinstance(layer, Layer)
            query, key, value = layer.project(tokens)
            query, key = turned(query, places), turned(key, places)
            attended = scaled_dot_product_attention(query, key, value)
            tokens = layer.finish(tokens, attended)
        return tokens

    def causal(self, tokens: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Tokens that continue streams attend to those before: [B, T, 288] to the same."""
        time = tokens.shape[1]
        places = turn(past.place[:, None] + torch.arange(time))
        distance = torch.arange(time)[:, None] + PAST - torch.arange(PAST + time)
        near = (distance >= 0) & (distance <= PAST)
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            query, key, value = layer.project(tokens)
            key = torch.cat([past.keys[:, index], turned(key, places)], dim=2)
            value = torch.cat([past.values[:, index], value], dim=2)
            attended = scaled_dot_product_attention(
                turned(query, places), key, value, attn_mask=near
            )
            tokens = layer.finish(tokens, attended)
            keys.append(key[:, :, -PAST:])
            values.append(value[:, :, -PAST:])
        return tokens, Past(torch.stack(keys, 1), torch.stack(values, 1), past.place + time)

    def silent_past(self) -> Past:
        """Of a stream that begins after silence; for one stream, B = 1."""
        token = self.front(torch.zeros(1, SPAN))
        places = turn(torch.arange(-PAST, 0)[None])
        keys, values = [], []
        for layer in self.layers:  # where all tokens are alike, attention gives their value
            assert isinstance(layer, Layer)
            _, key, value = layer.project(token)
            token = layer.finish(token, value)
            keys.append(turned(key.expand(-1, -1, PAST, -1), places))
            values.append(value.expand(-1, -1, PAST, -1))
        place = torch.zeros(1, dtype=torch.long)
        return Past(torch.stack(keys, 1), torch.stack(values, 1), place)


def turn(places: Tensor) -> Tensor:
    """Rotary places [B, T] as unit complex numbers [B, 1, T, 16]; exact however late."""
    slow = 10_000.0 ** (-torch.arange(0, _ROTATED, 2, dtype=torch.float64) / _ROTATED)
    angle = places[:, None, :, None] * slow
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def turned(x: Tensor, by: Tensor) -> Tensor:
    """[B, 8, T, 36]: neighbouring pairs of channels turned by the token's place."""
    turning, still = x[..., :_ROTATED], x[..., _ROTATED:]
    pairs = torch.view_as_complex(turning.reshape(*turning.shape[:-1], -1, 2))
    return torch.cat([torch.view_as_real(pairs * by).flatten(-2), still], dim=-1)
