"""Maps h from weather to latents, fitted by least squares. One file each."""
