#!/bin/sh
# The page: who asks. A dual-stack socket writes IPv4 as a mapped IPv6 address; the answer does not.
printf 'Content-Type: text/plain\r\n\r\n'
printf '%s' "$REMOTE_ADDR:$REMOTE_PORT" | sed 's/\[::ffff:\([0-9.]*\)\]/\1/'
