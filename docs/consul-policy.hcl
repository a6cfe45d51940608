# The least that autopilot's token needs under default-deny, for node names that begin with `wn-` and services named
# condor-*. Add one service_prefix for each further service of your jobs.
agent_prefix "wn-"        { policy = "read" }
node_prefix "wn-"         { policy = "write" } # consul_agent registers its own node
node_prefix ""            { policy = "read" }
service_prefix "condor"   { policy = "write" }
service "autopilot"       { policy = "write" }
service "containerpilot"  { policy = "write" } # the telemetry port
service_prefix ""         { policy = "read" }  # watches, templates, fleet
key_prefix "autopilot/lives/" { policy = "write" } # records of lives
key_prefix "autopilot/fleet/" { policy = "write" } # the fleet's entries of containers without a telemetry port
key_prefix "autopilot/locks/" { policy = "write" } # locks
# nothing below autopilot-watchdog/: those keys order drains and quarantines (consul-policy-watchdog.hcl)
# key "site/mode"         { policy = "read" }  # one for each watched key, and for those that templates read
session_prefix "wn-"      { policy = "write" } # locks, and the entries of the fleet
