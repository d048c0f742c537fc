#!/bin/busybox sh
# What busybox's DHCP client calls: $1 is what happened, $interface, $ip, $subnet, $router, $dns and so on are the lease.
# /run is the only place to write to.
box=/bin/busybox

case $1 in
deconfig)
    $box ip addr flush dev "$interface"
    $box ip link set "$interface" up
    ;;
bound | renew)
    $box ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
    # Of several interfaces, the one that came first is the way out.
    metric=$(($($box cat "/sys/class/net/$interface/ifindex") + 100))
    for gateway in $router; do
        $box ip route replace default via "$gateway" dev "$interface" metric $metric
        break
    done
    for server in $dns; do
        echo "nameserver $server"
    done > /run/resolv.conf.new
    $box mv /run/resolv.conf.new /run/resolv.conf
    echo "${ntpsrv:-}" > /run/ntp-servers
    [ "$1" = renew ] || echo "$interface has the address $ip" > /dev/console
    ;;
esac
