"""Speed, measured against peers; see README.md beside this file."""

import core.pages  # noqa: F401  before anything imports torch: peers are given large pages, too
