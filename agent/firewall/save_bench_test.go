package firewall

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParseSave: what the periodic check reads of 5,000 policies in
// 1,000 postures, 20,000 rules.
func BenchmarkParseSave(b *testing.B) {
	var out strings.Builder
	out.WriteString("*filter\n")
	for i := range 2000 {
		fmt.Fprintf(&out, ":tw-e-p%d - [0:0]\n", i)
	}
	for i := range 20000 {
		fmt.Fprintf(&out, `-A tw-e-p%d -p tcp -m set --match-set tw-s-peers src -m multiport --dports %d,%d -m comment --comment "NetworkPolicy production/policy-%d rule 1" -g tw-accept`+"\n", i/10, i, i+1, i/4)
	}
	out.WriteString("COMMIT\n")
	text := []byte(out.String())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if s := parseSave(text); len(s["filter"]) != 2000 {
			b.Fatal("not read")
		}
	}
}
