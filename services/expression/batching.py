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

MAX_BATCH = 64
LONG_MELS = 200
BATCH_SIZE = Histogram(
    "synctalk_expression_batch_size", "Streams computed together", buckets=(1, 2, 4, 8, 16, 32, 64)
)
BATCH_S = Histogram(
    "synctalk_expression_batch_seconds", "Time that the encoder took for a batch",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip


@dataclass(frozen=True)
class _Ask:
    mel: Tensor
    answer: Future[Tensor] = field(default_factory=Future)


class BatchingEncoder(AudioVisualEncoder):
    """An :class:`AudioVisualEncoder` whose trunk is shared by the threads that call it.

    Only inputs of one length are computed together: no padding, so no stream's result depends on
    another's.
    """

    def __init__(self) -> None:
        """Make an untrained encoder; ``BatchingEncoder.pretrained()`` gives the shipped one."""
        super().__init__()
        self._asked: SimpleQueue[_Ask] = SimpleQueue()
        threading.Thread(target=self._answer_forever, daemon=True, name="encoder").start()

    def trunk(self, mel: Tensor) -> Tensor:
        """As the base class's, for [1, T, 64]; blocks until its batch is done."""
        ask = _Ask(mel)
        self._asked.put(ask)
        return ask.answer.result()

    def _answer_forever(self) -> None:
        while True:
            waiting = [self._asked.get()]
            while len(waiting) < MAX_BATCH:
                try:
                    waiting.append(self._asked.get_nowait())
                except Empty:
                    break
            alike: dict[int, list[_Ask]] = defaultdict(list)
            for ask in waiting:
                alike[ask.mel.shape[1]].append(ask)
            for length, asks in alike.items():
                step = len(asks) if length < LONG_MELS else 1
                for first in range(0, len(asks), step):
                    self._answer(asks[first : first + step])

    @torch.inference_mode()
    def _answer(self, asks: list[_Ask]) -> None:
        BATCH_SIZE.observe(len(asks))
        began_s = time.perf_counter()
        try:
            trunks = super().trunk(torch.cat([ask.mel for ask in asks]))
        except Exception as error:
            for ask in asks:
                ask.answer.set_exception(error)
            return
        finally:
            BATCH_S.observe(time.perf_counter() - began_s)
        for index, ask in enumerate(asks):
            ask.answer.set_result(trunks[index : index + 1])
