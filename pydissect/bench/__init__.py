"""What ``pydissect bench`` measures: counting, thresholds and packing, against the machine's limit and other code."""
