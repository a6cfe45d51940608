"""Connect a life to Consul, the telemetry port and templates, as far as the plan has them."""
