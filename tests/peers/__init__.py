"""Stand-ins for services that no machine of ours can run at the size or with the faults a test needs."""
