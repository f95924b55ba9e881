"""Training objectives: each turns one batch into a loss to minimise, in nats per pixel. One file each."""
