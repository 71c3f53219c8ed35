"""What a run leaves behind: one document, the same shape for every workflow."""
