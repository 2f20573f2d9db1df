#!/bin/sh
# Run a command on the display that is there, or else under Xvfb.
set -eu
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname -s)" != Linux ]; then
  exec "$@"
fi
exec xvfb-run -a -s "-screen 0 1920x1200x24 +extension GLX" "$@"
