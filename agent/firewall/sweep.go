package firewall

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// leftover is what an agent with the other iptables backend left: a packet
// would meet both, and the one that nobody keeps up to date would deny what is
// allowed.
type leftover struct {
	other  *tools
	tables map[int]map[string]saved // by family
}

// lookOther looks for it. It changes nothing.
func (f *Firewall) lookOther(ctx context.Context) leftover {
	l := leftover{other: &tools{backend: NFT}, tables: map[int]map[string]saved{}}
	if f.tools.backend == NFT {
		l.other.backend = Legacy
	}
	if l.other.installed() != nil { // programs of these names are new enough
		return l
	}
	for _, family := range []int{4, 6} {
		if family == 6 && !f.ipv6 || !l.other.used(family) {
			continue
		}
		if l.other.backend == NFT {
			if has, err := nftHasOurs(family); err == nil && !has {
				continue // on an error the program says what is wrong
			}
		}
		tables, err := l.other.save(ctx, family)
		if err != nil {
			f.log.Warn("the other iptables backend cannot be read", "backend", l.other.backend, "error", err)
			continue
		}
		l.tables[family] = tables
	}
	return l
}

// sweepOther removes it.
func (f *Firewall) sweepOther(ctx context.Context, l leftover) {
	for _, family := range []int{4, 6} {
		for _, table := range []string{"mangle", "filter"} {
			patch := sweepPatch(table, l.tables[family][table])
			if patch == "" {
				continue
			}
			if err := l.other.restore(ctx, family, func() string { return patch }); err != nil {
				f.log.Warn("our rules in the other iptables backend cannot be removed", "backend", l.other.backend, "error", err)
				continue
			}
			f.log.Info("removed our rules from the other iptables backend", "backend", l.other.backend, "table", table, "family", family)
		}
	}
}

// sweepPatch is the iptables-restore input that removes all that is ours from
// a table, or "" when there is nothing.
func sweepPatch(table string, s saved) string {
	var declare, jumps, remove strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if strings.HasPrefix(name, prefix) {
			fmt.Fprintf(&declare, ":%s - [0:0]\n", name)
			fmt.Fprintf(&remove, "-X %s\n", name)
			continue
		}
		for i := len(s[name]) - 1; i >= 0; i-- {
			if jumpsToOurs(s[name][i]) {
				fmt.Fprintf(&jumps, "-D %s %d\n", name, i+1)
			}
		}
	}
	if declare.Len() == 0 && jumps.Len() == 0 {
		return ""
	}
	return "*" + table + "\n" + declare.String() + jumps.String() + remove.String() + "COMMIT\n"
}
