package reach

import (
	"cmp"
	"slices"
)

// span is the numbers from first to last: ports, or ICMP types and codes.
// Lists of spans are sorted and disjoint.
type span struct{ first, last int }

const maxPort = 1<<16 - 1

// all is every port.
var all = []span{{0, maxPort}}

// union sorts spans and joins those that touch.
func union(list []span) []span {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := list[:0]
	for _, s := range list {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

func intersect(a, b []span) []span {
	var out []span
	for len(a) > 0 && len(b) > 0 {
		if s := (span{max(a[0].first, b[0].first), min(a[0].last, b[0].last)}); s.first <= s.last {
			out = append(out, s)
		}
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

func minus(a, b []span) []span {
	var out []span
	for _, s := range a {
		for _, t := range b {
			if t.last < s.first || t.first > s.last {
				continue
			}
			if t.first > s.first {
				out = append(out, span{s.first, t.first - 1})
			}
			s.first = t.last + 1
		}
		if s.first <= s.last {
			out = append(out, s)
		}
	}
	return out
}

func contains(list []span, n int) bool {
	for _, s := range list {
		if s.first <= n && n <= s.last {
			return true
		}
	}
	return false
}
