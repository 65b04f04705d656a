"""Procedural phantoms."""
