"""One room per outside system; no room knows another."""
