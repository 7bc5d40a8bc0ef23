package firewall

import "testing"

// Tables are left unread only when nothing at all is in them.
func TestLegacyBare(t *testing.T) {
	open(t, Legacy) // clears up
	run(t, "iptables-legacy", "-t", "filter", "-S")
	run(t, "iptables-legacy", "-t", "mangle", "-S")
	run(t, "ip6tables-legacy", "-t", "filter", "-S")
	for _, table := range []string{"filter", "mangle"} {
		for _, change := range [][3]string{{"a chain", "-N theirs", "-X theirs"}, {"a rule", "-A FORWARD -j ACCEPT", "-D FORWARD 1"}} {
			do := func(args string) { t.Helper(); run(t, "sh", "-c", "iptables-legacy -t "+table+" "+args) }
			if !legacyBare(4) {
				t.Fatal("tables without a rule are not bare")
			}
			do(change[1])
			if legacyBare(4) {
				t.Errorf("%s with %s is bare", table, change[0])
			}
			do(change[2])
		}
	}
	run(t, "ip6tables-legacy", "-N", "theirs")
	if !legacyBare(4) || legacyBare(6) {
		t.Errorf("bare are IPv4 %v, IPv6 %v; a chain is in that of IPv6", legacyBare(4), legacyBare(6))
	}
}

// The nft tables are read for what an agent left there only when a chain of ours
// is in them.
func TestNFTHasOurs(t *testing.T) {
	open(t, NFT) // clears up
	is := func(what string, v4, v6 bool) {
		t.Helper()
		for family, want := range map[int]bool{4: v4, 6: v6} {
			if has, err := nftHasOurs(family); err != nil || has != want {
				t.Errorf("%s: IPv%d has ours: %v, %v; want %v", what, family, has, err, want)
			}
		}
	}
	run(t, "iptables-nft", "-N", "theirs")
	run(t, "iptables-nft", "-A", "FORWARD", "-j", "theirs")
	is("another's chain", false, false)
	run(t, "iptables-nft", "-t", "mangle", "-N", "tw-mark")
	is("one of ours in mangle", true, false)
	run(t, "ip6tables-nft", "-N", "tw-closed")
	is("and one of IPv6", true, true)
}
