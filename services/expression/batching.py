"""The encoder for many streams at once: whoever asks while a batch is computed is in the next.

No timer holds a lone stream up, and under load batches grow by themselves. Long inputs, those of
recordings, fill the machine alone and are computed alone: their rows are the same bits whoever
else is served, so that a dub is the same video each time.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import torch
from prometheus_client import Histogram
from torch import Tensor

from synctalk.face_sync import AudioVisualEncoder
from synctalk.face_sync.speech_network import Past

MAX_BATCH = 64
LONG_SAMPLES = 32_000
Heard = tuple[Tensor, Past | None]
BATCH_SIZE = Histogram(
    "synctalk_expression_batch_size", "Streams computed together", buckets=(1, 2, 4, 8, 16, 32, 64)
)
BATCH_S = Histogram(
    "synctalk_expression_batch_seconds", "Time that the encoder took for a batch",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip


@dataclass(frozen=True)
class _Ask:
    samples: Tensor
    past: Past | None
    answer: Future[Heard] = field(default_factory=Future)


class BatchingEncoder(AudioVisualEncoder):
    """An :class:`AudioVisualEncoder` that the threads which call it share.

    Only inputs of one length are computed together: no padding, so no stream's result depends on
    another's.
    """

    def __init__(self) -> None:
        """Make an untrained encoder; ``BatchingEncoder.pretrained()`` gives the shipped one."""
        super().__init__()
        self._asked: SimpleQueue[_Ask] = SimpleQueue()
        threading.Thread(target=self._answer_forever, daemon=True, name="encoder").start()

    def listen(self, samples: Tensor, past: Past | None) -> Heard:
        """As the base class's, for one stream; blocks until its batch is done."""
        ask = _Ask(samples, past)
        self._asked.put(ask)
        return ask.answer.result()

    def _answer_forever(self) -> None:
        torch.set_num_threads(1)  # operations are small, and others want the cores
        while True:
            waiting = [self._asked.get()]
            while len(waiting) < MAX_BATCH:
                try:
                    waiting.append(self._asked.get_nowait())
                except Empty:
                    break
            alike: dict[tuple[int, bool], list[_Ask]] = defaultdict(list)
            for ask in waiting:
                alike[ask.samples.shape[1], ask.past is None].append(ask)
            for (length, whole), asks in alike.items():
                step = 1 if whole or length > LONG_SAMPLES else len(asks)
                for first in range(0, len(asks), step):
                    self._answer(asks[first : first + step])

    @torch.inference_mode()
    def _answer(self, asks: list[_Ask]) -> None:
        BATCH_SIZE.observe(len(asks))
        began_s = time.perf_counter()
        try:
            heard = self._listen_together(asks)
        except Exception as error:
            for ask in asks:
                ask.answer.set_exception(error)
            return
        finally:
            BATCH_S.observe(time.perf_counter() - began_s)
        for ask, answer in zip(asks, heard, strict=True):
            ask.answer.set_result(answer)

    def _listen_together(self, asks: list[_Ask]) -> list[Heard]:
        pasts = [ask.past for ask in asks if ask.past is not None]
        if len(asks) == 1:
            return [super().listen(asks[0].samples, asks[0].past)]
        tokens, past = super().listen(torch.cat([ask.samples for ask in asks]), Past.joined(pasts))
        assert past is not None
        return list(zip(torch.split(tokens, 1), past.split(), strict=True))
