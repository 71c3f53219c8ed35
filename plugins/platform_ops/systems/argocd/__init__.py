"""Argo CD's REST API.

Fence: Argo CD runs one operation per application and refuses a second; the info ``platform-ops/run`` names ours.
"""
