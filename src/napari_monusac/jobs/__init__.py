"""Training jobs in a thread or a child process; sinks of their events. No torch, no Qt."""
