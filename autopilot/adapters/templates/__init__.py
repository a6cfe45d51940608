"""Keep files rendered by Jinja2 up to date with the environment and with Consul."""
