package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/policy/selector"
)

// Pool is a network from which endpoints get their addresses.
type Pool struct {
	Name      string
	CIDR      netip.Prefix
	BlockSize int  // prefix length of a host's block
	Disabled  bool // no new addresses
	// Selector says which endpoints draw from the pool; nil means all.
	Selector *selector.Selector
}

// Selects reports whether an endpoint with these labels and environment may
// draw from the pool. Use Resolver.Guarded first, so that a claim that is
// refused opens no pool.
func (p *Pool) Selects(labels map[string]string, environment string) bool {
	return p.Selector == nil || p.Selector.Matches(&item{labels: labels, env: environment})
}

func newPool(p *resource.Pool) (Pool, error) {
	pool := Pool{Name: p.Metadata.Name, CIDR: p.Prefix(), BlockSize: p.BlockBits(), Disabled: p.Spec.Disabled}
	text := p.Metadata.Annotations[resource.PoolSelector]
	if strings.TrimSpace(text) == "" {
		return pool, nil
	}
	var err error
	pool.Selector, err = selector.Parse(text)
	return pool, err
}

func sortPools(pools []Pool) {
	slices.SortFunc(pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
}
