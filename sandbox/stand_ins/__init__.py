"""Small stateful servers that speak the vendors' APIs to the vendors' own clients."""
