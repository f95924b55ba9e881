"""A campaign as something that is run again and again: its runs, what a next one would do, its provenance."""
