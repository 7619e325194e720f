#!/bin/sh
# Bridged packets pass the packet filter.
set -e
for module in bridge br_netfilter; do modprobe "$module"; done
for family in arp ip ip6; do sysctl -qw "net.bridge.bridge-nf-call-${family}tables=1"; done
