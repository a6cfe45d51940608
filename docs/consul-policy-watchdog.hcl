# The least that the token of a host's watchdog (`consul.token_file`) needs under default-deny. Only watchdogs and
# operators may write these keys: a quarantine keeps an image from the whole fleet, and the urgency orders drains.
key_prefix "autopilot-watchdog/quarantine/" { policy = "write" }
key_prefix "autopilot-watchdog/good/"       { policy = "write" } # good digests, for hosts that know none themselves
key_prefix "autopilot-watchdog/lives/"      { policy = "write" } # numbers of good lives, for rings that wait for evidence
key_prefix "autopilot-watchdog/promoted/"   { policy = "write" } # digests of canaries that operators promoted
key_prefix "autopilot-watchdog/"            { policy = "read" } # the urgency, which an operator sets
# operator = "write" # only with `consul.node`: removes the agents of killed containers from Consul's members
