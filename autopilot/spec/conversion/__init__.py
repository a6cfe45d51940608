"""Convert the configurations of other supervisors to a job spec."""
