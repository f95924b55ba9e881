"""Tables of several models side by side, for the eye and for other programs."""
