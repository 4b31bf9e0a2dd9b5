"""Transports: in process here, NATS in `parasync.transports.nats`."""
