"""Encoders: what the satellite saw, turned into features for a posterior family. One file each."""
