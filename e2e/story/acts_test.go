package story

import "testing"

func TestATraceIsTheAddressAndNotItsBlock(t *testing.T) {
	const address = "10.8.0.128"
	for line, want := range map[string]bool{
		"10.8.0.128 dev twb1c2 scope link":                            true,
		"add tw-s-1 10.8.0.128 timeout 0":                             true,
		"add tw-p-1 10.8.0.128,tcp:8080":                              true,
		"-A tw-in -s 10.8.0.128/32 -j DROP":                           true,
		"tcp 6 ESTABLISHED src=10.8.0.128 dst=10.8.0.3":               true,
		"10.8.0.128/26 via 192.168.50.13 dev eth0 proto 84":           false,
		"unreachable 10.8.0.128/26 proto 84":                          false,
		"10.8.0.12 dev twb1c2 scope link":                             false,
		"110.8.0.128 dev twb1c2 scope link":                           false,
		"10.8.0.129 dev twb1c2 scope link src 10.8.0.1280 metric 128": false,
	} {
		if got := mentions(line, address); got != want {
			t.Errorf("%q mentions %s: %v", line, address, got)
		}
	}
}
