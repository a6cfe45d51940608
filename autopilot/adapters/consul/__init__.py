"""Connect this life to Consul: register its services, watch others, share limits, keep the history."""
