"""Large pages, asked for before torch is imported and reads its environment: import this module first.

A map of the VAE at 512×512 has 134 MB. Handed out in pages of 4 kB it costs more than what is computed in it; Linux hands out
2 MB at once where a program asks for it, which torch does under this name.
"""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
