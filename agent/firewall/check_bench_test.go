package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// BenchmarkCheck: the comparison of a host of the largest size, 5,000 policies in
// 500 postures and two sets of 100,000 members, with nothing amiss. "held-ms" is how
// long changes wait for it; the rest of it is reading, beside which they go on.
func BenchmarkCheck(b *testing.B) {
	for _, backend := range backends {
		b.Run("backend="+string(backend), func(b *testing.B) {
			ctx := context.Background()
			f := open(b, backend)
			p := Picture{Sets: map[string]*work.SetState{}, Programs: map[string]work.Program{}, Wires: func(do func([]Wire) error) error { return do(nil) }}
			for i := range 2 {
				s := &work.SetState{Type: work.Nets, Members: map[string]struct{}{}}
				for j := range 100_000 {
					s.Members[netip.AddrFrom4([4]byte{10, byte(64 + i<<4 + j>>16), byte(j >> 8), byte(j)}).String()] = struct{}{}
				}
				p.Sets[fmt.Sprint("large", i)] = s
			}
			for i := range 500 {
				prog := work.Program{ID: fmt.Sprint("p", i)}
				for j := range 10 {
					n := 10*i + j
					r := work.Rule{Action: work.Allow, Policy: fmt.Sprintf("NetworkPolicy production/policy-%d", n), Protocol: 6}
					r.Source.Sets, r.Dest.Ports = []string{fmt.Sprint("large", n%2)}, []work.PortRange{{First: uint16(1000 + n), Last: uint16(1000 + n)}}
					prog.Policies = append(prog.Policies, r.Policy)
					for _, tiers := range []*[]work.Tier{&prog.Ingress, &prog.Egress} {
						if *tiers == nil {
							*tiers = []work.Tier{{Name: "default"}}
						}
						(*tiers)[0].Rules = append((*tiers)[0].Rules, r)
					}
				}
				p.Programs[prog.ID] = prog
			}
			if _, failures, err := f.Sync(ctx, p); err != nil || len(failures) > 0 {
				b.Fatal(failures, err)
			}
			held := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				look, err := f.Look(ctx, []string{"large0", "large1"})
				if err != nil {
					b.Fatal(err)
				}
				started := time.Now()
				p.Look = look
				if drift, failures, err := f.Sync(ctx, p); err != nil || len(drift)+len(failures) > 0 {
					b.Fatal(drift, failures, err)
				}
				held += time.Since(started)
			}
			b.ReportMetric(float64(held.Microseconds())/1000/float64(b.N), "held-ms")
		})
	}
}
