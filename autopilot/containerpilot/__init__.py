"""Replace the program `containerpilot`: its command line, and a light client for jobs that call it often."""
