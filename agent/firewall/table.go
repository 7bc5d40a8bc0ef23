package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table tracks one table of one protocol: what its chains should be and what
// the kernel is known to hold. Only the chains in dirty may differ.
//
//	   want          have
//	┌─────────┬─────┬──────────┐
//	│ to write│ =   │ to remove│
//	└─────────┴─────┴──────────┘
//
// A write that failed leaves dirty as it was: the next patch tries it again.
type table struct {
	name  string
	hooks []hook
	want  chains
	have  chains
	dirty map[string]bool

	wroteAt  map[string]uint64 // the Firewall's last write of a chain; see adopt
	known    bool              // the kernel was read at least once
	builtins map[string]rules  // the built-in chains that we hook into, as read
}

func newTable(name string, b base) *table {
	t := &table{name: name, hooks: b.hooks, want: chains{}, have: chains{}, dirty: map[string]bool{}, builtins: map[string]rules{}, wroteAt: map[string]uint64{}}
	for name, rs := range b.chains {
		t.put(name, rs)
	}
	return t
}

// put says what a chain must hold.
func (t *table) put(name string, rs rules) {
	t.want[name] = rs
	t.touch(name)
}

// drop says that a chain must not be.
func (t *table) drop(name string) {
	delete(t.want, name)
	t.touch(name)
}

func (t *table) touch(name string) {
	w, wanted := t.want[name]
	h, there := t.have[name]
	if wanted == there && slices.Equal(w, h) {
		delete(t.dirty, name)
		return
	}
	t.dirty[name] = true
}

// stamp says which write may change the chains that patch has.
func (t *table) stamp(write uint64) {
	for name := range t.dirty {
		t.wroteAt[name] = write
	}
	for _, h := range t.hooks {
		if is := t.builtins[h.builtin]; len(is) == 0 || is[0] != h.rule() {
			t.wroteAt[h.builtin] = write
		}
	}
}

// adopt takes what the kernel holds as the truth about it, and says in words
// how it differs from what we last knew. What was written after the write since
// may be newer than s: of that, the next reading tells.
func (t *table) adopt(s saved, since uint64) (drift []string) {
	have := chains{}
	for name, rs := range s {
		if strings.HasPrefix(name, prefix) {
			have[name] = rs
		}
	}
	maps.DeleteFunc(t.wroteAt, func(_ string, at uint64) bool { return at <= since })
	for name := range t.wroteAt {
		delete(have, name)
		if rs, ok := t.have[name]; ok {
			have[name] = rs
		}
	}
	if t.known {
		for _, name := range sortedNames(t.have, have) {
			was, had := t.have[name]
			is, has := have[name]
			switch {
			case had && !has:
				drift = append(drift, fmt.Sprintf("chain %s was gone", name))
			case !had && has:
				drift = append(drift, fmt.Sprintf("chain %s was there but is not ours", name))
			case !slices.Equal(was, is):
				drift = append(drift, fmt.Sprintf("chain %s had %d rules instead of %d, or others", name, len(is), len(was)))
			}
		}
	}
	for _, h := range t.hooks {
		if _, newer := t.wroteAt[h.builtin]; newer {
			continue
		}
		is := s[h.builtin]
		t.builtins[h.builtin] = is
		if at := slices.Index(is, h.rule()); t.known && at != 0 {
			if at < 0 {
				drift = append(drift, fmt.Sprintf("the jump from %s to %s was gone", h.builtin, h.chain))
			} else {
				drift = append(drift, fmt.Sprintf("%d rules stood before the jump from %s to %s", at, h.builtin, h.chain))
			}
		}
	}
	t.have, t.known = have, true
	t.dirty = map[string]bool{}
	for _, name := range sortedNames(t.want, t.have) {
		t.touch(name)
	}
	return drift
}

// differs says whether patch has anything to do.
func (t *table) differs() bool { return len(t.dirty) > 0 || t.hookEdits() != "" }

// patch appends the iptables-restore input that turns have into want, and
// nothing when nothing is to do. The kernel applies all of it or nothing.
func (t *table) patch(b *strings.Builder) {
	hooks := t.hookEdits()
	if len(t.dirty) == 0 && hooks == "" {
		return
	}
	names := slices.Sorted(maps.Keys(t.dirty))
	size := len(hooks) + 100
	for _, name := range names {
		size += 2*len(name) + 20
		for _, r := range t.want[name] {
			size += len(name) + len(r) + 5
		}
	}
	b.Grow(size) // a host's first patch has megabytes
	write := func(parts ...string) {
		for _, s := range parts {
			b.WriteString(s)
		}
	}
	write("*", t.name, "\n")
	for _, name := range names {
		write(":", name, " - [0:0]\n") // makes the chain, or empties it
	}
	for _, name := range names {
		for _, r := range t.want[name] {
			write("-A ", name, " ", r, "\n")
		}
	}
	write(hooks)
	for _, name := range names {
		if _, wanted := t.want[name]; !wanted {
			write("-X ", name, "\n")
		}
	}
	write("COMMIT\n")
}

// hookEdits are the lines that make our jumps the first rules of the built-in
// chains, and the only ones into ours.
func (t *table) hookEdits() string {
	var hooks strings.Builder
	for _, h := range t.hooks {
		is := t.builtins[h.builtin]
		right := len(is) > 0 && is[0] == h.rule()
		for i := len(is) - 1; i >= 0; i-- { // highest first, so that the numbers of the others stay
			if jumpsToOurs(is[i]) && !(i == 0 && right) {
				fmt.Fprintf(&hooks, "-D %s %d\n", h.builtin, i+1)
			}
		}
		if !right {
			fmt.Fprintf(&hooks, "-I %s 1 %s\n", h.builtin, h.rule())
		}
	}
	return hooks.String()
}

// jumpsToOurs recognises a jump from a built-in chain into one of ours, also
// one that an older version wrote.
func jumpsToOurs(rule string) bool {
	return strings.Contains(rule, "-j "+prefix) || strings.Contains(rule, "-g "+prefix)
}

// wrote records that the kernel took the patch.
func (t *table) wrote() {
	for name := range t.dirty {
		if rs, ok := t.want[name]; ok {
			t.have[name] = rs
		} else {
			delete(t.have, name)
		}
	}
	t.dirty = map[string]bool{}
	for _, h := range t.hooks {
		is := t.builtins[h.builtin]
		if len(is) == 0 || is[0] != h.rule() {
			t.builtins[h.builtin] = rules{h.rule()} // enough for patch; the next reading tells the rest
		}
	}
}

func sortedNames(a, b chains) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}
