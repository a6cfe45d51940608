"""Write the container's log: one line for each event of ours and for each line of a job."""
