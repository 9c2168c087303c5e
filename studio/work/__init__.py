"""Pieces of work for the engine: generators that do a slice at a time and show what they have so far."""
