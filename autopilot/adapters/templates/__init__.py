"""Files rendered by Jinja2 from the environment and from what Consul knows."""
