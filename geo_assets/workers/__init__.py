"""Processes and threads that do the work: pools, the enclosure of what reads strangers' bytes, their answers."""
