"""From a target density to draws: one sampler a file."""
