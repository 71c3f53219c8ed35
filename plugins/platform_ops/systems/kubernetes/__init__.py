"""Kubernetes clusters, through the official client.

Fence: nothing is started here; a rollout is watched, so two watchers do no harm.
"""
