"""What every room uses: errors, transports, remote work, waiting, settings."""
