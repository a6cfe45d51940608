"""The outside: each adapter is told what to do and reports what it sees; none imports another."""
