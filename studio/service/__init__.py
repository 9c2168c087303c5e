"""One engine that owns the device, the jobs that it is given, and the bounds of what visitors may ask."""
