#!/usr/bin/env bash
# Installs what the tests need beside Go, make and git, or prints the exact line that would and fails. It never lets a
# test be left out. Quick when everything is there. Without arguments: everything; with arguments: only these groups.
#
#   base     a C compiler: the race detector of Go needs one
#   foreign  other people's MQTT clients and Debian's broker: mosquitto, mosquitto-clients, python3-paho-mqtt, mqtt.js;
#            a browser for the page of examples/browser: chromium, playwright-core
set -euo pipefail
cd "$(dirname "$0")/.."

groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(base foreign)

packages=()
want() { # want PACKAGE COMMAND...: the package is wanted unless the command succeeds
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || packages+=("$package")
}

has() { [ -x "$1" ] || command -v "$1"; }

for group in "${groups[@]}"; do
	case $group in
	base)
		want gcc has gcc
		want libc6-dev test -e /usr/include/stdlib.h
		want git has git
		;;
	foreign)
		want mosquitto has /usr/sbin/mosquitto
		want mosquitto-clients has /usr/bin/mosquitto_pub
		want python3-paho-mqtt /usr/bin/python3 -c 'import paho.mqtt.client'
		want nodejs has node
		# Some builds of nodejs bring npm along and conflict with Debian's package of that name.
		want npm has npm
		want chromium has /usr/bin/chromium
		;;
	*)
		echo "tools/deps.sh: unknown group '$group'; known: base foreign" >&2
		exit 2
		;;
	esac
done

if [ ${#packages[@]} -gt 0 ]; then
	line="apt-get install -y --no-install-recommends ${packages[*]}"
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		echo "tools/deps.sh: the tests need packages that are not installed. As root: $line" >&2
		exit 1
	fi
	# A freshly installed mosquitto would start its service and take port 1883: refuse service starts meanwhile.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	# The lists of a fresh machine are empty or old; refresh them only when the first try fails.
	$line </dev/null || { apt-get update </dev/null && $line </dev/null; } || {
		echo "tools/deps.sh: could not install. As root: apt-get update && $line" >&2
		exit 1
	}
fi

for group in "${groups[@]}"; do
	[ "$group" = foreign ] && [ -f test/foreign/js/package-lock.json ] || continue
	stamp=test/foreign/js/node_modules/.midge-stamp
	sum=$(sha256sum test/foreign/js/package-lock.json)
	[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && continue
	(cd test/foreign/js && npm ci --no-audit --no-fund --loglevel=error </dev/null) || {
		echo "tools/deps.sh: could not install mqtt.js and playwright-core. Run: (cd test/foreign/js && npm ci)" >&2
		exit 1
	}
	printf '%s\n' "$sum" >"$stamp"
done
