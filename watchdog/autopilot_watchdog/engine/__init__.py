"""Container engines, through the Docker API on their sockets: Docker and Podman."""
