package firewall

import "testing"

// A protocol's name that is the host's own choice reads as its number, and
// nothing else in a rule changes.
func TestCanonical(t *testing.T) {
	for rule, want := range map[string]string{
		"-p esp -j ACCEPT":                              "-p 50 -j ACCEPT",
		"-s 10.0.0.1/32 -p esp":                         "-s 10.0.0.1/32 -p 50",
		`! -p ah -m comment --comment "as -p ah says"`:  `! -p 51 -m comment --comment "as -p ah says"`,
		"-p ipv6-icmp -j DROP":                          "-p 58 -j DROP",
		"-p tcp -m tcp --dport 80":                      "-p tcp -m tcp --dport 80", // written by name
		"-p 47 -j DROP":                                 "-p 47 -j DROP",
		"-p no-such -j DROP":                            "-p no-such -j DROP",
		`-m comment --comment "allow -p esp here" -j X`: `-m comment --comment "allow -p esp here" -j X`,
		"-m mark --mark 0x1 -g tw-p esp":                "-m mark --mark 0x1 -g tw-p esp",
		"-j ACCEPT":                                     "-j ACCEPT",
		"-p ":                                           "-p ",
		"":                                              "",
	} {
		if got := canonical(rule); got != want {
			t.Errorf("%q reads as %q, want %q", rule, got, want)
		}
	}
}
