"""Callbacks: what the service posts, read, confirmed, routed and waited for."""
