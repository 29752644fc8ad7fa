"""Which tiling is fastest here: legal ones measured beside the rule's, the best kept for later calls. `python -m refconv.tune`."""
