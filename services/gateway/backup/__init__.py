"""Copies of what an installation keeps, in Redis and in its bucket, and the way back.

``snapshot`` (Redis at one moment), ``vault`` (the folder with the copies), ``save``, ``buried``
(what must not come back) and ``restore``. docs/disaster.md says how they are used.

Redis is copied first. Objects are written before a record names them, so whatever the copy of Redis
names is in the bucket when that is copied, unless it was erased between the two.
"""
