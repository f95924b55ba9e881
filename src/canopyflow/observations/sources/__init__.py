"""Where training and evaluation find observations. One file each."""
