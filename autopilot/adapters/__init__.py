"""Connect the supervisor with the outside world: an adapter does its orders and reports cues; none imports another."""
