"""What is written into files, links and texts, and read back from them; nothing here knows of widgets."""
