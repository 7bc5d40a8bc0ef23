package firewall

import (
	"strings"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nfnl"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nf_tables.h and nfnetlink.h.
const (
	getChain  = 10<<8 | 4 // NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN
	chainName = 3         // NFTA_CHAIN_NAME
)

// nftHasOurs says whether a family's nft tables have a chain of ours, and with it
// anything of ours. It is asked before a program that would list them all is run.
func nftHasOurs(family int) (has bool, err error) {
	nl, err := nfnl.Dial()
	if err != nil {
		return false, err
	}
	defer nl.Close()
	family = map[int]int{4: unix.AF_INET, 6: unix.AF_INET6}[family]
	m := netlink.Message{Header: netlink.Header{Type: getChain}, Data: []byte{byte(family), 0, 0, 0}} // struct nfgenmsg
	err = nl.Dump(m, func() { has = false }, func(data []byte) {
		if len(data) < 4 {
			return
		}
		nlattr.Walk(data[4:], func(t uint16, v []byte) {
			has = has || t == chainName && strings.HasPrefix(string(v), prefix)
		})
	})
	return has, err
}
