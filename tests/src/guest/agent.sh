#!/bin/sh
# One request a line: base64 of a shell script. The answer: "RC <exit code> <base64 of what it printed>".
for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name")" = control ] && device=/dev/${port##*/}
done
exec 3<> "$device"
echo READY >&3
while :; do
	read -r line <&3 || { usleep 50000; continue; } # end of file while nobody is connected
	echo "$line" | base64 -d > /tmp/.script
	setsid sh /tmp/.script > /tmp/.output 2>&1 < /dev/null
	echo "RC $? $(base64 /tmp/.output | tr -d '\n')" >&3
done
