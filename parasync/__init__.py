"""Typed, server-authoritative objects, kept in sync."""
