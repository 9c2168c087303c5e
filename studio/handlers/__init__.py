"""What stands between the widgets of Prompt and Denoise and the engine."""
