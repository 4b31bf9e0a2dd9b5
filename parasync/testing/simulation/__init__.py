"""Authorities, replicas and your services in a simulated world, judged by the promises of parasync."""
