"""Inside the U-Net: its map, what its parts put out at a step of a run, and what is lost when one of them is switched off.

parts.py the map; looks.py activations and self-attention; switches.py parts switched off; effects.py what that changes;
doubling.py three ways to double the side of a map.
"""
