"""Real servers in place of stand-ins, and tools that tests need: a file for each."""
