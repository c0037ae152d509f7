"""Batch dubbing: a worker that has segments rendered by all replicas and joins them."""
