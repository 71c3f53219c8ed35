"""Who may say yes, and whether what was said counts; the same for every area."""
