#!/bin/sh
# The guest's first process: devices, addresses from the kernel's command line, and the agent.
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
echo 1 > /proc/sys/kernel/printk
# Before the NIC appears: its addresses are not worth a second of waiting for duplicates.
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
cat /modules/order* | while read -r module; do insmod "/modules/$module"; done
argument() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline | tr , ' '; }
ip link set lo up
ip link set eth0 up
for address in $(argument fwd.addresses); do ip addr add "$address" dev eth0; done
for gateway in $(argument fwd.gateways); do
	case $gateway in
	*:*) ip -6 route add default via "$gateway" ;;
	*) ip route add default via "$gateway" ;;
	esac
done
exec /bin/agent
