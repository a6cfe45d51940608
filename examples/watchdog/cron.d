# /etc/cron.d/autopilot-watchdog, for hosts without systemd. If two runs overlap, the second leaves.
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root timeout 900 /usr/local/bin/autopilot-watchdog run 2>&1 | logger -t autopilot-watchdog
