"""Jobs in Redis: at least once, fairly between tenants, published exactly once.

A client has a :class:`JobQueue` and a :class:`JobWatcher`, a worker process a :class:`Worker` with
a handler. ARCHITECTURE.md, "Jobs", says what is guaranteed and which keys are used.
"""

from services.common.jobs.child import Account, Handler
from services.common.jobs.connect import connect
from services.common.jobs.context import JobContext
from services.common.jobs.metrics import QueueCollector, QueueStats, WorkerMetrics, queue_stats
from services.common.jobs.model import (
    AttemptRecord,
    Failure,
    Job,
    JobPage,
    JobSettings,
    JobState,
    JobType,
    LogTail,
    Progress,
    Publication,
)
from services.common.jobs.queue import Enqueued, JobQueue
from services.common.jobs.watch import JobWatcher
from services.common.jobs.worker import Finished, Worker

__all__ = [
    "Account",
    "AttemptRecord",
    "Enqueued",
    "Failure",
    "Finished",
    "Handler",
    "Job",
    "JobContext",
    "JobPage",
    "JobQueue",
    "JobSettings",
    "JobState",
    "JobType",
    "JobWatcher",
    "LogTail",
    "Progress",
    "Publication",
    "QueueCollector",
    "QueueStats",
    "Worker",
    "WorkerMetrics",
    "connect",
    "queue_stats",
]
