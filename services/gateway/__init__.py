"""The public face: REST /v1 for users, in front of the services and the queues."""
