"""The lab: real parts of the outside world, built on this machine. Used by the demo, the tests and the benchmarks."""
