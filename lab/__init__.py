"""Build real parts of the outside world on this machine, for the demo, the tests and the benchmarks."""
