"""The entry point of a drop-in for ContainerPilot: its command line, and its client, which jobs call often."""
