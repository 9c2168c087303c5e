"""Pure functions from numbers and pictures to what a page draws: one file for each place that shows them."""
